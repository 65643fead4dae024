"""What is said before a search begins: what it will cost, and what the base and every expert score by themselves."""
