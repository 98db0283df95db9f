"""The demo: a story told through a real Kafka and PostgreSQL, shown and checked."""
