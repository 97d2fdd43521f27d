"""The engines that are compared.  Each runs in a worker process of its own and imports its library only there."""
