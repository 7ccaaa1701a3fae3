"""Federated distillation in a Flower app of one's own, whose clients are plain Flower clients."""
