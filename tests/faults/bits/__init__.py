"""Every bit: nothing that is stored can change, be cut, swapped or replayed without being noticed."""
