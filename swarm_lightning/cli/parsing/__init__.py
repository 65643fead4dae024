"""How the command line is read: what it takes, what it says of mistakes, and what stands for more."""
