"""The grader: where an answer stands in a response, and whether two answers are equal."""
