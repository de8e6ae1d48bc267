"""How questions are asked: prompt templates, worked examples, and the prompts of other harnesses."""
