"""How it travels: producer, consumer, delivery with dead letters, outbox relay, topic creation."""
