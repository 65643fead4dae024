"""Lightning's command line with open hooks where it has private ones.

Tested with lightning 2.6.6. Relied on, besides what is documented of `LightningCLI`:

- `_add_subcommands(parser, **kwargs)` adds the commands of the trainer, fills `_subcommand_parsers`, and calls
  `_prepare_subcommand_parser(class, command, **kwargs)` for each; that one would make the parser with all its arguments
  and fill `_subcommand_method_arguments` with those which `_run_subcommand(command)` hands to the trainer's method.
- a parser may get its arguments after it was added as a command's.
- `_add_arguments(parser)` adds all that a command takes: the core's and those of `add_arguments_to_parser`.
- `_parser(command)` and `_get(config, key)` find the parser and the settings of a command.
- the order in which `__init__` works: `setup_parser`, `parse_arguments`, `instantiate_classes`, `_run_subcommand`.
- `SaveConfigCallback(parser, config)` keeps both as attributes.
"""

import sys
from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from swarm_lightning.doors.jsonargparse import OpenParser


class CommandLine(LightningCLI):
    """`LightningCLI` whose commands can have settings of their own, and need not be methods of the trainer.

    A command's parser gets its hundreds of arguments when it is needed: those of all commands take a second.
    """

    _unfilled: set[str]

    def settings_of_commands(self) -> Mapping[str, type]:
        """Name the commands with a group of settings, of the command's name, by the class that takes them.

        Where the command is a method of the trainer, its instance is the argument of that name.
        """
        return {}

    def further_commands(self) -> Mapping[str, str]:
        """Name the commands that are no method of the trainer, with their help.

        Those with settings take all that a search takes beside them; any other is only listed.
        """
        return {}

    def run_command(self, command: str) -> None:
        """Run the chosen command; a method of the trainer unless an heir says otherwise."""
        super()._run_subcommand(command)

    def complete_parser(self, command: str, parser: LightningArgumentParser) -> None:
        """Change the parser of a command that has all its arguments; to be overridden."""

    def parser_of(self, command: str) -> LightningArgumentParser:
        """Return the parser of a command."""
        parser = self._parser(command)
        if command in self._unfilled:
            self._unfilled.remove(command)
            self._fill(command, parser)
            self.complete_parser(command, parser)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, by the parsers of the commands that are named; by all where none is."""
        words = sys.argv[1:] if args is None else args
        named = {command for command in self._unfilled if command in words}
        for command in named or set(self._unfilled):
            self.parser_of(command)
        super().parse_arguments(parser, args)

    def settings_made(self, key: str) -> Any:
        """Return what the chosen command's settings have become, by their key, such as `trainer`."""
        return self._get(self.config_init, key)

    @property
    def settings_given(self) -> Namespace:
        """The chosen command's settings, as parsed."""
        return self.config[self.config.subcommand]

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        self._unfilled.add(subcommand)
        return self.init_parser(**kwargs)

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        self._unfilled = set()
        super()._add_subcommands(parser, **kwargs)
        assert isinstance(parser, OpenParser), "parser_class must derive from OpenParser"
        commands = parser.commands
        for command, help_ in self.further_commands().items():
            if command not in self.settings_of_commands():
                commands.add_subcommand(command, self.init_parser(), help=help_)
                continue
            self._unfilled.add(command)
            self._subcommand_parsers[command] = self.init_parser(description=help_)
            commands.add_subcommand(command, self._subcommand_parsers[command], help=help_)

    def _fill(self, command: str, parser: LightningArgumentParser) -> None:
        self._add_arguments(parser)
        settings = self.settings_of_commands().get(command)
        if settings is None:
            skip: set[str | int] = set(self.subcommands()[command])
            taken = parser.add_method_arguments(self.trainer_class, command, skip=skip)
        else:  # Lightning would make a group with the method's name, and jsonargparse refuses a second one of that name
            parser.add_class_arguments(settings, command)
            taken = [command]
        self._subcommand_method_arguments[command] = taken

    def _run_subcommand(self, subcommand: str) -> None:
        self.run_command(subcommand)
