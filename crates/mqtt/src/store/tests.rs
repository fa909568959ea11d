//! What is saved comes back, on a real database.
