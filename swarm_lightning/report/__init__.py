"""What a run folder tells: data frames, figures, and one self-contained page, all made from its files alone."""
