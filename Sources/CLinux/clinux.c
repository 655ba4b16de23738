#include "include/clinux.h"
int clinux_placeholder;
