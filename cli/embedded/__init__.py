"""Real PostgreSQL and real Apache Kafka as ordinary processes: no Docker, no installed Java, no Maven."""
