"""Programs that the tests run in a network of their own."""
