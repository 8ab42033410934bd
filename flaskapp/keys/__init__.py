"""Keys of what is stored: which are in use, what each is needed for, and how one is retired."""
