"""From the outbox to the world: relay, fulfillment and the publisher of commands."""
