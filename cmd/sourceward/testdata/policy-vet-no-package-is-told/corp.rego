deny contains 1 if true
