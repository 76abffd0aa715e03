#include <stdio.h>
#include <stdlib.h>

char *greeting(const char *name) {
    char *text = malloc(40);
    snprintf(text, 40, "Hello, %s", name);
    return text;
}

int main(void) {
    puts(greeting("Ada"));
    return 0;
}
