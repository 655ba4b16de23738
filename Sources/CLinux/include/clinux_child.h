// Programs of the administrator's. Functions return a negated errno value if they fail.
#pragma once

#include <sys/types.h>

// Starts a program in a process group of its own, whose number is the id that is returned: in directory /, with `input` as its standard
// input and `output` as the two others, no further descriptor, every signal as a program finds it at a log-in, no capability and no way
// to gain one. Both arrays end with NULL.
pid_t clinux_start_program(const char *path, char *const arguments[], char *const environment[], int input, int output);

// Readable once the process has ended; it waits for waitpid(2) then. Close-on-exec.
int clinux_process_descriptor(pid_t process);

// Both ends of a pipe, ends[0] to read from without waiting. Close-on-exec.
int clinux_output_pipe(int ends[2]);

// A file that is in memory only (memfd_create(2)). Close-on-exec.
int clinux_memory_file(const char *name);
