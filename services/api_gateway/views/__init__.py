"""What a client sees: the bodies of answers, and how rows become them."""
