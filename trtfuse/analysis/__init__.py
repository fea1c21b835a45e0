"""What is known of values without running the model: constants, shapes, sizes, symbols."""
