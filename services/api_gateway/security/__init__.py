"""Who asks: passwords, tokens, API keys, and how often."""
