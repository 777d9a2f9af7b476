"""Who may call: clients and their tokens, scopes and quotas. Knows neither gRPC nor torch."""
