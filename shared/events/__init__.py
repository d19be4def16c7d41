"""What travels: topics, envelopes, payloads and their golden examples."""
