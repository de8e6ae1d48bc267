"""Loss on texts that a model is not trained on: which texts, how they are measured, and runs that measure them."""
