// A tool in C, without bindings and without a C library: what wit/tool.wit looks like at the level of
// the canonical ABI. Its input is {"n": 30}, its result {"fib": 832040}.

typedef unsigned int u32;
typedef unsigned long long u64;

// A string or the like is a pointer and a length; a result of two strings has its case before them.
struct answer {
  u32 is_error;
  const char *text;
  u32 length;
};

__attribute__((import_module("nexus:tool/log@1.0.0"), import_name("write")))
void log_write(const char *line, u32 length);

static char heap[1 << 16];
static u32 used;

// Everything is allocated once: an instance lives for one call.
__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, u32 old_size, u32 align, u32 size) {
  u32 at = (used + align - 1) & ~(align - 1);
  if (old || old_size || size > sizeof heap || at > sizeof heap - size) __builtin_trap();
  used = at + size;
  return heap + at;
}

static u32 digits(char *to, u64 number) {
  char reversed[20];
  u32 count = 0;
  do reversed[count++] = '0' + number % 10; while (number /= 10);
  for (u32 i = 0; i < count; i++) to[i] = reversed[count - 1 - i];
  return count;
}

static u64 fib(u32 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static struct answer answer;
static char text[64];

__attribute__((export_name("call")))
struct answer *call(const char *input, u32 length) {
  u32 n = 0, seen = 0;
  for (u32 i = 0; i < length; i++)
    if (input[i] >= '0' && input[i] <= '9') n = n * 10 + (input[i] - '0'), seen++;
  if (!seen || seen > 2) {
    static const char why[] = "n must be a number below 100";
    answer = (struct answer){1, why, sizeof why - 1};
    return &answer;
  }
  log_write("counting", 8);
  u32 at = 0;
  for (const char *s = "{\"fib\": "; *s; s++) text[at++] = *s;
  at += digits(text + at, fib(n));
  text[at++] = '}';
  answer = (struct answer){0, text, at};
  return &answer;
}
