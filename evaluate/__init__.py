"""What a model is worth, and what it is good for: measures, and data sets made by it."""
