"""Messages and calls of the API, made from `quantd/v1/*.proto` when this package is built."""
