"""The subcommands that Lightning's command line lacks, one file for each."""
