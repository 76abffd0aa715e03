#!/bin/sh
# Write "sum: " and the sum of the two arguments.
