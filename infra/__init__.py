"""The world: databases, queues, files and executors behind the ports of `domain`. It implements, and decides nothing."""
