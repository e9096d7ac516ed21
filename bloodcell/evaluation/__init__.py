"""What a model's class probabilities are worth, and what that looks like."""
