"""Lightning's command line with open hooks where it has private ones.

Tested with lightning 2.6.6. Relied on, besides what is documented of `LightningCLI`:

- `_add_subcommands(parser, **kwargs)` adds the commands of the trainer, fills `_subcommand_parsers`, and calls
  `_prepare_subcommand_parser(class, command, **kwargs)` for each; that one fills `_subcommand_method_arguments` with
  the arguments which `_run_subcommand(command)` hands to the trainer's method.
- `_add_arguments(parser)` adds all that a command takes: the core's and those of `add_arguments_to_parser`.
- `_parser(command)` and `_get(config, key)` find the parser and the settings of a command.
- the order in which `__init__` works: `setup_parser`, `parse_arguments`, `instantiate_classes`, `_run_subcommand`.
- `SaveConfigCallback(parser, config)` keeps both as attributes.
"""

from collections.abc import Mapping
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from swarm_lightning.doors.jsonargparse import OpenParser


class CommandLine(LightningCLI):
    """`LightningCLI` whose commands can have settings of their own, and need not be methods of the trainer."""

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

    def parser_of(self, command: str) -> LightningArgumentParser:
        """Return the parser of a command."""
        return self._parser(command)

    def settings_made(self, key: str) -> Any:
        """Return what the chosen command's settings have become, by their key, such as `trainer`."""
        return self._get(self.config_init, key)

    @property
    def settings_given(self) -> Namespace:
        """The chosen command's settings, as parsed."""
        return self.config[self.config.subcommand]

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        settings = self.settings_of_commands().get(subcommand)
        if settings is None:
            return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        # Lightning would make a group with the method's name, and jsonargparse refuses a second one of that name.
        parser = self._parser_with_settings(subcommand, settings, **kwargs)
        self._subcommand_method_arguments[subcommand] = [subcommand]
        return parser

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        super()._add_subcommands(parser, **kwargs)
        assert isinstance(parser, OpenParser), "parser_class must derive from OpenParser"
        commands = parser.commands
        for command, help_ in self.further_commands().items():
            settings = self.settings_of_commands().get(command)
            if settings is None:
                commands.add_subcommand(command, self.init_parser(), help=help_)
                continue
            self._subcommand_parsers[command] = self._parser_with_settings(command, settings, description=help_)
            commands.add_subcommand(command, self._subcommand_parsers[command], help=help_)

    def _parser_with_settings(self, command: str, settings: type, **kwargs: Any) -> LightningArgumentParser:
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        parser.add_class_arguments(settings, command)
        return parser

    def _run_subcommand(self, subcommand: str) -> None:
        self.run_command(subcommand)
