"""Several models that answer as one, by a mixture of what each gives the next token or the next piece of text."""
