"""The tokenizer of the demo world: one token per known word, bytes for everything else.

A byte-level BPE without merges whose vocabulary holds whole words (`ignore_merges`, as in Llama 3). The fixed parts of
the prompts are one token each, so that most prompts stay under twenty tokens and the search is quick; any other text
falls apart into bytes and still comes back unchanged.
"""

import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, END = SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
PIECES = r"\nThe answer is|\nAnswer:|Question:|\n[A-Z]:|'s\b| ?[A-Za-z]+| ?[0-9]+|\s|[^\sA-Za-z0-9]+"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '\\nAnswer: ' + message['content'] + eos_token }}"
    "{% else %}{% if not loop.first %}{{ '\\n' }}{% endif %}{{ 'Question: ' + message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\\nAnswer:' }}{% endif %}"
)


def train_tokenizer(texts: list[str], smallest_count: int = 2) -> PreTrainedTokenizerFast:
    """Make a tokenizer that knows the pieces of a text as whole tokens.

    Args:
        texts: Texts to read.
        smallest_count: How often a piece must occur to become a token, >= 1.

    Returns:
        A tokenizer that puts the begin token in front, pads on the left, and can undo any text.
    """
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    counts: dict[str, int] = {}
    for text in texts:
        for piece in re.findall(PIECES, text):
            counts[piece] = counts.get(piece, 0) + 1
    known = sorted(piece for piece, count in counts.items() if count >= smallest_count and len(piece) > 1)
    words = [byte_level.pre_tokenize_str(piece)[0][0] for piece in known]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: number for number, word in enumerate([*SPECIAL_TOKENS, *letters, *words])}

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A",
        pair=f"{BEGIN} $A $B",
        special_tokens=[(BEGIN, vocabulary[BEGIN])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        chat_template=CHAT_TEMPLATE,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, with the chat template inside the latter."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
