"""Pure rules: what an order contributes, how much it weighs by age, which score, which segment."""
