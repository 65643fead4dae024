"""Fine-tuning of LoRA experts from instruction data; nothing heavy is imported before it is needed."""
