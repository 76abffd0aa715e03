#include <stdio.h>
#include <stdlib.h>

#include "mean.h"

int main(int argc, char **argv) {
    double numbers[100];
    int count = 0;
    for (int i = 1; i < argc && count < 100; i++) {
        numbers[count++] = atof(argv[i]);
    }
    printf("%g\n", mean(numbers, count));
    return 0;
}
