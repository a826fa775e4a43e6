//! Custody of keys: root keys that seal, and stores of what they sealed.
