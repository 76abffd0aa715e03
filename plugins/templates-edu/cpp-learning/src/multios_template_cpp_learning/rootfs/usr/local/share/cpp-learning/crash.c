#include <stdio.h>

int divide(int total, int people) {
    return total / people;
}

int share(int total) {
    int people = 0; /* who counts them? */
    return divide(total, people);
}

int main(void) {
    printf("everyone gets %d\n", share(42));
    return 0;
}
