"""What becomes of sums before they are stored: a value (:mod:`.steps`) and the one place that emits it."""
