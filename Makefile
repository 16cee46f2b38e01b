# lmm: `make demo` and `make test` do everything on a bare Debian; `make help` lists the rest.

LUA        ?= lua5.4
LUA_ABI    ?= $(patsubst lua%,%,$(LUA))
LUA_INCDIR ?= /usr/include/lua$(LUA_ABI)
PREFIX     ?= /usr/local
LUADIR     ?= $(PREFIX)/share/lua/$(LUA_ABI)
LIBDIR     ?= $(PREFIX)/lib/lua/$(LUA_ABI)
BINDIR     ?= $(PREFIX)/bin

# VARIANT keeps builds with other flags apart: `make VARIANT=-asan OPTIMISE=...` is what `make asan` does.
VARIANT  ?=
BUILD    := build/lua$(LUA_ABI)$(VARIANT)
CORE     := error buf sniff media base64 body utf8 sse core
CURL     := error buf transfer multi curl
MODULES  := $(BUILD)/lmm/core.so $(BUILD)/lmm/curl.so

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion
OPTIMISE ?= -O2 -D_FORTIFY_SOURCE=2
CFLAGS   ?= -g -fstack-protector-strong
LDFLAGS  ?= -Wl,-z,relro,-z,now
LMM_CFLAGS  := -std=c99 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARNINGS) -I$(LUA_INCDIR)
LMM_LDFLAGS := -shared -Wl,-z,nodelete

# What a process needs to run from this tree.
RUN := LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;./?.lua;;" LUA_CPATH="$(CURDIR)/$(BUILD)/?.so;;"

all: $(MODULES)
core: $(BUILD)/lmm/core.so

$(BUILD)/lmm/core.so: $(CORE:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(LMM_LDFLAGS) -o $@ $^ -lb64

$(BUILD)/lmm/curl.so: $(CURL:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $(LMM_LDFLAGS) -o $@ $^ -lcurl

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(LMM_CFLAGS) $(OPTIMISE) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/*.d)

spec: all
	@$(RUN) $(LUA) spec/run.lua $(SPEC)

clean:
	rm -rf build

.PHONY: all core spec clean
