#include <stdio.h>

int main(void) {
    int squares[10];
    for (int i = 0; i <= 10; i++) {
        squares[i] = i * i;
    }
    printf("the last square is %d\n", squares[9]);
    return 0;
}
