"""Made-up shops and advertisements whose best answer is known, for measuring models against the truth."""
