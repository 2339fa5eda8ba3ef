// Goal: broken programs: truncated, wrong machine, wrong class, missing interpreter, absurd headers.  Each
// must give the errno or the death that Linux gives, and leave this program running.
#include "guest.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>

extern char** environ;
static unsigned char image[4 << 20];
static size_t image_bytes;

static ElfW(Ehdr) * header(void) { return (ElfW(Ehdr)*)image; }
static ElfW(Phdr) * segment(unsigned type) {
  ElfW(Phdr)* p = (ElfW(Phdr)*)(image + header()->e_phoff);
  for (int i = 0; i < header()->e_phnum; ++i) {
    if (p[i].p_type == type) return p + i;
  }
  printf("FAILED no segment of type %u\n", type);
  _exit(1);
}

static void load(const char* path) {
  int fd = open(path, O_RDONLY);
  ssize_t got = read(fd, image, sizeof image);
  CHECK(got > 4096 && (size_t)got < sizeof image);
  image_bytes = (size_t)got;
  close(fd);
}

static void run(const char* label, size_t bytes) {
  unlink("broken");
  int fd = open("broken", O_WRONLY | O_CREAT | O_TRUNC, 0700);
  CHECK(write(fd, image, bytes) == (ssize_t)bytes);
  close(fd);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    int quiet = open("/dev/null", O_WRONLY);
    dup2(quiet, 1), dup2(quiet, 2);  // the dynamic linker's complaints hold addresses
    char* arguments[] = {"broken", NULL};
    execve("./broken", arguments, environ);
    _exit(100 + errno);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  if (WIFEXITED(status) && WEXITSTATUS(status) > 100) {
    printf("%s: %s\n", label, guest_errname(WEXITSTATUS(status) - 100));
  } else {
    guest_show_status(label, status);
  }
}

int main(int argc, char** argv) {
  (void)argc;
  const char* good = argv[0];
  load(good);
  static const size_t kCuts[] = {0, 1, 4, 16, 40, 51, 52, 63, 64, 100, 200, 500, 1000, 2000, 4096, 5000};
  for (size_t i = 0; i < sizeof kCuts / sizeof kCuts[0]; ++i) {
    char label[64];
    snprintf(label, sizeof label, "cut to %zu", kCuts[i]);
    run(label, kCuts[i]);
  }
#define BREAK(label, statement) load(good), (statement), run(label, image_bytes)
  BREAK("magic", image[0] = 'X');
  BREAK("machine", header()->e_machine = EM_AARCH64);
  BREAK("no machine", header()->e_machine = 0);
  BREAK("other class", image[EI_CLASS] = (unsigned char)(3 - image[EI_CLASS]));
  BREAK("byte order", image[EI_DATA] = ELFDATA2MSB);
  BREAK("relocatable", header()->e_type = ET_REL);
  BREAK("core", header()->e_type = ET_CORE);
  BREAK("no segments", header()->e_phnum = 0);
  BREAK("many segments", header()->e_phnum = 0xfff0);
  BREAK("segment size", header()->e_phentsize = 13);
  BREAK("segments beyond the file", header()->e_phoff = 0x7fffff00);
  BREAK("interpreter missing", strcpy((char*)image + segment(PT_INTERP)->p_offset, "/nonexistent/ld.so"));
  BREAK("interpreter empty", segment(PT_INTERP)->p_filesz = 0);
  BREAK("interpreter of one byte", segment(PT_INTERP)->p_filesz = 1);
  BREAK("interpreter long", segment(PT_INTERP)->p_filesz = 5000);
  BREAK("interpreter beyond the file", segment(PT_INTERP)->p_offset = 0x10000000);
  BREAK("interpreter unterminated",
        image[segment(PT_INTERP)->p_offset + segment(PT_INTERP)->p_filesz - 1] = 'x');
  BREAK("interpreter a folder", strcpy((char*)image + segment(PT_INTERP)->p_offset, "/tmp"));
  BREAK("interpreter not ELF", strcpy((char*)image + segment(PT_INTERP)->p_offset, "/etc/passwd"));
  BREAK("load size", segment(PT_LOAD)->p_filesz = segment(PT_LOAD)->p_memsz + 4096);
  BREAK("load alignment", segment(PT_LOAD)->p_offset += 1);
  BREAK("load beyond the end", segment(PT_LOAD)->p_memsz = (ElfW(Addr)) - 8192);
  BREAK("fixed at zero", header()->e_type = ET_EXEC);
  BREAK("fixed in the kernel's half",
        (header()->e_type = ET_EXEC, segment(PT_LOAD)->p_vaddr = (ElfW(Addr)) - 4096 * 16));
#ifdef __x86_64__
  BREAK("fixed at the end of the user's half",
        (header()->e_type = ET_EXEC, segment(PT_LOAD)->p_vaddr = 0x7ffffffff000 - 4096));
#endif
  BREAK("not loadable", segment(PT_LOAD)->p_type = PT_NULL);
  BREAK("entry nowhere", header()->e_entry = 0x10);
  load("/bin/true");
  run("a good one at last", image_bytes);
  return guest_end();
}
