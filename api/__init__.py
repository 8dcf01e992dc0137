"""The front door: HTTP and nothing more. No SQL, no Redis, no rules; a handler names an action or a query and shows its result."""
