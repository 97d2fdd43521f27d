"""What a user does with Smalti, as plain functions; the command line only parses arguments for them."""
