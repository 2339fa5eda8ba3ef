// Goal: the signal that ends the program ends the launcher in the same way, after all output.
#include "guest.h"

int main(void) {
  puts("last words");
  fputs("on stderr too\n", stderr);
  abort();
}
