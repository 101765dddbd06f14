"""What AxNode is built of: the lock files, and what is made and checked from them."""
