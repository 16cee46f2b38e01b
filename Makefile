# lmm: `make demo` and `make test` do everything on a bare Debian. `make help` lists the rest.

# The program, and the version whose headers and folders it takes: LuaJIT those of 5.1.
LUA        ?= lua5.4
LUA_ABI    ?= $(if $(findstring jit,$(LUA)),5.1,$(patsubst lua%,%,$(notdir $(LUA))))
LUA_INCDIR ?= /usr/include/lua$(LUA_ABI)
PREFIX     ?= /usr/local
space := $(subst ,, )
override PREFIX := $(subst |,$(space),$(abspath $(subst $(space),|,$(strip $(PREFIX)))))
LUADIR     ?= $(PREFIX)/share/lua/$(LUA_ABI)
LIBDIR     ?= $(PREFIX)/lib/lua/$(LUA_ABI)
BINDIR     ?= $(PREFIX)/bin

# VARIANT keeps a build with other flags apart from the plain one.
VARIANT ?=
BUILD   := build/lua$(LUA_ABI)$(VARIANT)
CORE    := error buf utf8 view tiff iso ebml film picture raster sound sniff media fit shell base64 literal write encode body number read decode fence grow slice header sse delta text kind answer load core
CURL    := error buf fork watch sockets transfer quirks failure multi curl
DIGEST  := error digest
FILES   := error ids journal files
TCP     := fork watch tcp
VIPS    := engine pool vips
ENGINE  := fit prepare
# The optional module: built where libvips' headers are. IN_SHELL: asked for once they have been installed.
VIPS_FLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags vips 2>/dev/null))
VIPS_FLAGS_IN_SHELL := $$(pkg-config --cflags vips | sed 's/-I/-isystem /g')
MODULES := $(patsubst %,$(BUILD)/lmm/%.so,core curl digest files tcp $(if $(VIPS_FLAGS),vips vips_engine))

OPTIMISE ?= -O2 -D_FORTIFY_SOURCE=2
CFLAGS   ?= -g -fstack-protector-strong
LDFLAGS  ?= -Wl,-z,relro,-z,now
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion
C_FLAGS  := -std=c99 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fPIC -fvisibility=hidden $(WARNINGS) -I$(LUA_INCDIR)

# What a process needs to run from this tree, and what Debian calls what we need.
RUN  := LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;./?.lua;;" LUA_CPATH="$(CURDIR)/$(BUILD)/?.so;;"
NEED := .ci/need
# Debian's nginx does not go with its luajit, only with luajit2, whose program has the same name.
PROGRAM_PACKAGE = $(if $(findstring jit,$1),$(if $(shell command -v $1 2>/dev/null),,luajit2),$(notdir $1))
HEADER_PACKAGE  = lib$(patsubst lua5.1,lua5.1-0,lua$1)-dev
BUILD_PACKAGES  = gcc libc6-dev $(call PROGRAM_PACKAGE,$(LUA)) $(call HEADER_PACKAGE,$(LUA_ABI)) libcurl4-openssl-dev libb64-dev nettle-dev
DEMO_PACKAGES   = $(BUILD_PACKAGES) lua-cjson lua-luv lua-luaossl lua-argparse
VIPS_PACKAGES  := libvips-dev pkg-config
# What the specs of preparation make their pictures and films by.
MEDIA_PACKAGES := $(VIPS_PACKAGES) libvips-tools libheif-examples qpdf ffmpeg ghostscript
NVIM_PACKAGES  := neovim tmux python3-venv liblua5.1-0-dev
CHAT_PACKAGES  := lua-readline tmux chafa
NGINX_PACKAGES := nginx libnginx-mod-http-lua liblua5.1-0-dev ca-certificates
# What opens the pages of lmm grid.
BROWSER_PACKAGES := chromium chromium-driver
TEST_PACKAGES   = $(DEMO_PACKAGES) lua-busted lua-sql-sqlite3 curl luarocks openssl zsh fish mandoc \
                  $(MEDIA_PACKAGES) $(NVIM_PACKAGES) $(CHAT_PACKAGES) $(NGINX_PACKAGES) $(BROWSER_PACKAGES)
LINT_PACKAGES   = $(BUILD_PACKAGES) $(VIPS_PACKAGES) $(foreach abi,$(ABIS),$(call HEADER_PACKAGE,$(abi))) clang clang-tidy cppcheck lua-check lua5.1

LUA_FILES := $(shell find lua -name '*.lua')
ALL_LUA   := lua bin/lmm spec bench examples .busted .ci plugin doc/script

all: $(MODULES) ## builds the C modules into build/; lmm.vips, which prepares pictures, only where libvips is
core: $(patsubst %,$(BUILD)/lmm/%.so,core digest files) ## builds what nginx needs, without libcurl
vips: ## builds lmm.vips, and installs what it needs
	@$(NEED) $(BUILD_PACKAGES) $(VIPS_PACKAGES)
	@$(MAKE) --no-print-directory $(BUILD)/lmm/vips.so $(BUILD)/lmm/vips_engine.so

# What each module's compiler is to find, so that a missing package is told in one line.
HEADERS := lauxlib
$(BUILD)/lmm/core.so: HEADERS += b64/cencode
$(BUILD)/lmm/curl.so: HEADERS += curl/curl
$(BUILD)/lmm/digest.so: HEADERS += nettle/sha2
$(BUILD)/lmm/vips_engine.so: HEADERS += vips/vips
$(BUILD)/lmm/vips_engine.so: C_FLAGS += $(VIPS_FLAGS)

$(BUILD)/lmm/core.so: $(CORE:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^ -lb64 -pthread

$(BUILD)/lmm/curl.so: $(CURL:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^ -lcurl

$(BUILD)/lmm/digest.so: $(DIGEST:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^ -lnettle

$(BUILD)/lmm/files.so: $(FILES:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^

$(BUILD)/lmm/tcp.so: $(TCP:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^ -pthread

$(BUILD)/lmm/vips.so: $(VIPS:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^ -pthread -ldl

$(BUILD)/lmm/vips_engine.so: $(ENGINE:%=$(BUILD)/%.o)
	@mkdir -p $(@D)
	@echo "  LD $@"
	@$(CC) $(LDFLAGS) -shared -o $@ $^ $(shell pkg-config --libs vips)

$(BUILD)/%.o: src/%.c
	@printf '#include <%s.h>\n' $(HEADERS) | $(CC) $(C_FLAGS) $(CFLAGS) -E -o /dev/null - 2>/dev/null || \
	  { echo "needed: $(CC) $(HEADERS:%=%.h); on Debian: apt install $(strip $(BUILD_PACKAGES))" >&2; exit 1; }
	@mkdir -p $(@D)
	@echo "  CC $<"
	@$(CC) $(C_FLAGS) $(OPTIMISE) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/*.d)

demo: ## installs what is missing, builds, and asks the built-in server about a picture
	@$(NEED) $(DEMO_PACKAGES)
	@$(MAKE) --no-print-directory all
	@$(RUN) $(LUA) examples/demo.lua

# The Luas of `make test`, unless LUA=... names one.
LUAS   := lua5.4 lua5.1 lua5.2 lua5.3 luajit
ABIS   := 5.1 5.2 5.3 5.4
TESTED := $(if $(filter file,$(origin LUA)),$(LUAS),$(LUA))
test: ## installs what tests need, builds, and runs every spec on every Lua that it is about, or on LUA=lua5.1 alone
	@$(NEED) $(TEST_PACKAGES) $(if $(word 2,$(TESTED)),$(foreach lua,$(TESTED),$(call PROGRAM_PACKAGE,$(lua))) \
	  $(foreach abi,$(ABIS),$(call HEADER_PACKAGE,$(abi))))
	@$(NEED) valgrind || true # check-cost says that it is skipped
	@spec/nvim/install.sh "$(NVIM_DIR)"
	@spec/clients/install.sh "$(CLIENTS_DIR)"
	@spec/every.sh $(TESTED)

docs: ## doc/reference, the functions in :help lmm and the tables of doc/servers.md, from the annotations
	@$(RUN) $(LUA) doc/script/make.lua

chat-picture: all ## doc/pictures/chat.svg, of the real program in a real terminal
	@$(NEED) $(DEMO_PACKAGES) tmux
	@$(RUN) $(LUA) doc/script/chat_picture.lua

grid-picture: all ## doc/pictures/grid.png, of a page of the real program in a real browser
	@$(NEED) $(DEMO_PACKAGES) $(BROWSER_PACKAGES) $(VIPS_PACKAGES) libvips-tools
	@$(RUN) $(LUA) doc/script/grid_picture.lua

.PHONY: check rooms docs chat-picture grid-picture
# What `make check` leaves to `make test`: the hosts that need a program of their own, other Luas, and what takes its time.
LEFT_OUT := nvim% nginx% compat serve% cli% completion batch% grid% slurm url_file secret install compiled resend parity storm fuzz phase
CHECKED   = $(filter-out $(LEFT_OUT:%=spec/%_spec.lua),$(wildcard spec/*_spec.lua))
CHANGED   = $(shell .ci/changed)
CHANGED_LUA = $(filter %.lua .busted bin/lmm,$(CHANGED))
CHANGED_C   = $(if $(filter src/%.h,$(CHANGED)),$(wildcard src/*.c),$(filter src/%.c,$(CHANGED)))
check: ## what to run all day: the linters on what differs from main, then the quick specs on one Lua
	@$(NEED) $(DEMO_PACKAGES) $(VIPS_PACKAGES) lua-busted lua-sql-sqlite3 lua-check curl openssl
	@for file in $(CHANGED_C); do $(CC) $(C_FLAGS) $(VIPS_FLAGS_IN_SHELL) -O2 -Werror -c -o /dev/null $$file || exit 1; done
	@$(if $(CHANGED_LUA),luacheck --quiet $(CHANGED_LUA))
	@SPEC="$(CHECKED)" spec/every.sh $(LUA)

ROOMS_AS = $(LUA) -e 'local rooms = require "spec.support.rooms"; io.write(rooms.$1(rooms.files()))'
rooms: ## the rooms of lua/lmm and who requires whom; with graphviz also as build/rooms.svg
	@$(call ROOMS_AS,text)
	@mkdir -p build
	@! command -v dot >/dev/null || { $(call ROOMS_AS,dot) | dot -Tsvg -o build/rooms.svg && echo build/rooms.svg; }

CLIENTS_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lmm/clients
NVIM_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lmm/nvim
NVIM_INCDIR ?= /usr/include/lua5.1
nvim: ## builds the modules for Neovim and puts them beside the library: a plugin manager's build step
	@printf '#include <%s.h>\n' lua curl/curl b64/cencode nettle/sha2 | $(CC) -I$(NVIM_INCDIR) -E -o /dev/null - 2>/dev/null || \
	  $(NEED) gcc libc6-dev liblua5.1-0-dev libcurl4-openssl-dev libb64-dev nettle-dev
	@$(MAKE) --no-print-directory all LUA=lua5.1 LUA_INCDIR="$(NVIM_INCDIR)"
	@install -m 755 $(MODULES:$(BUILD)/%=build/lua5.1$(VARIANT)/%) lua/lmm
	@! command -v nvim >/dev/null || nvim --headless -n -i NONE -u NONE -c 'helptags doc' -c q

spec: all ## runs the specs, or those in SPEC="spec/a_spec.lua ..."
	@LMM_LOG=off $(RUN) $(LUA) spec/run.lua $(SPEC)

VLLM_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lmm/vllm
test-vllm: ## the specs against a real vLLM, which is installed into $(VLLM_DIR): 7 GB
	@$(NEED) $(TEST_PACKAGES) python3-venv
	@spec/vllm/install.sh "$(VLLM_DIR)"
	@$(MAKE) --no-print-directory all
	@LMM_VLLM="$(VLLM_DIR)" $(RUN) $(LUA) spec/run.lua spec/vllm/vllm_spec.lua

.PHONY: test-slurm
SLURM_PACKAGES := slurmctld slurmd slurm-client munge
test-slurm: ## the jobs of examples/slurm in a real Slurm of one node, which is started and stopped
	@$(NEED) $(DEMO_PACKAGES) $(SLURM_PACKAGES)
	@$(MAKE) --no-print-directory all
	@$(RUN) spec/slurm/run.sh $(LUA)

.PHONY: test-nfs
NFS_PACKAGES := user-mode-linux nfs-kernel-server nfs-common rpcbind kmod e2fsprogs
test-nfs: ## `lmm batch` with its output on a real NFS, which a Linux of its own serves and mounts; as root
	@$(NEED) $(DEMO_PACKAGES) $(NFS_PACKAGES)
	@$(MAKE) --no-print-directory all
	@$(RUN) spec/nfs/run.sh $(LUA)

STORM_HOSTS ?= blocking tcp luv nvim nginx
storm: all ## thousands of exchanges with a server that breaks its replies, in each host; LMM_STORM=N SEED=S repeat one
	@$(NEED) $(TEST_PACKAGES)
	@for host in $(STORM_HOSTS); do $(RUN) $(LUA) spec/storm/program.lua $$host || exit; done

soak: all ## a batch of 10,000 rows with pictures that is killed 200 times; LMM_KILLS=N LMM_ROWS=N change that
	@$(NEED) $(TEST_PACKAGES)
	@LMM_KILLS=$(or $(LMM_KILLS),200) LMM_ROWS=$(or $(LMM_ROWS),10000) $(RUN) $(LUA) spec/run.lua spec/batch_end_spec.lua

FUZZ         ?= sse read grow answer base64 sniff write body utf8 head retry
FUZZ_SECONDS ?= 600
FUZZ_FLAGS   := -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_SOURCES := $(CORE:%=src/%.c)
fuzz: ## libFuzzer on each part in FUZZ="sse body ...", FUZZ_SECONDS=600 each; what it finds goes to build/fuzz
	@$(NEED) $(BUILD_PACKAGES) clang libclang-rt-14-dev
	@set -e; for part in $(FUZZ); do \
	  echo "  FUZZ $$part"; mkdir -p build/fuzz/found/$$part; \
	  clang $(C_FLAGS) $(FUZZ_FLAGS) -o build/fuzz/$$part spec/fuzz/$$part.c $(FUZZ_SOURCES) -lb64 -l$(LUA); \
	  build/fuzz/$$part -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=10 -verbosity=0 -print_final_stats=1 \
	    -artifact_prefix=build/fuzz/$$part- build/fuzz/found/$$part spec/fuzz/corpus/$$part \
	    $$([ $$part != sniff ] || echo spec/media); \
	done

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
asan: ## the specs under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(NEED) $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory spec VARIANT=-asan OPTIMISE="-O1 $(SANITIZE)" LDFLAGS="$(SANITIZE)" \
	  LMM_TEST_WRAP="env LD_PRELOAD=$$($(CC) -print-file-name=libasan.so):$$($(CC) -print-file-name=libubsan.so)"

comma := ,
OOM_WRAP := $(patsubst %,-Wl$(comma)--wrap=%,malloc calloc realloc strdup free)
OOM      := build/lua$(LUA_ABI)-oom
oom: all ## every allocation of an ask, a stream and a gather made to fail; SCENARIO=... runs one
	@$(NEED) $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory all VARIANT=-oom OPTIMISE="-O1 $(SANITIZE)" LDFLAGS="$(SANITIZE) $(OOM_WRAP)"
	@$(CC) -std=c99 -D_GNU_SOURCE $(WARNINGS) -O1 -g $(SANITIZE) -I$(LUA_INCDIR) -DLUA_PROGRAM='"$(LUA)"' -rdynamic \
	  -o $(OOM)/oom spec/oom/oom.c -l$(LUA) -lcurl
	@$(RUN) $(OOM)/oom $(CURDIR)/$(OOM) $(SCENARIO)

valgrind: ## the specs under valgrind
	@$(NEED) $(TEST_PACKAGES) valgrind
	@$(MAKE) --no-print-directory spec VARIANT=-valgrind OPTIMISE="-O1" \
	  LMM_TEST_WRAP="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite"

export LMM_TEST_WRAP

gc: ## the specs with a collector that never rests; on Lua 5.4 then with a generational one
	@$(NEED) $(TEST_PACKAGES)
	@failed=; for init in "collectgarbage('setpause', 0) collectgarbage('setstepmul', math.type and 1000 or 400)" \
	  $(if $(filter 5.4,$(LUA_ABI)),"pcall(collectgarbage, 'generational')"); do \
	  echo "  LUA_INIT=$$init"; LUA_INIT="$$init" $(MAKE) --no-print-directory spec || failed=1; done; [ -z "$$failed" ]

lint: ## compilers with every warning an error, and the linters
	@$(NEED) $(LINT_PACKAGES)
	@for compiler in gcc clang; do for abi in $(ABIS); do echo "  $$compiler, Lua $$abi"; for file in src/*.c; do \
	  $$compiler -I/usr/include/lua$$abi $(C_FLAGS) $(VIPS_FLAGS_IN_SHELL) -O2 -Werror -c -o /dev/null $$file || exit 1; done; done; done
	@echo "  cppcheck"; cppcheck --quiet --std=c99 --language=c --enable=warning,style,performance,portability --inline-suppr \
	  --suppress=missingIncludeSystem --error-exitcode=1 -D__GNUC__ -D__x86_64__ -DLIBCURL_VERSION_NUM=0x075800 -DLUA_VERSION_NUM=504 src
	@echo "  clang-tidy"; clang-tidy --quiet src/*.c -- $(C_FLAGS) $(VIPS_FLAGS_IN_SHELL) 2>/dev/null
	@echo "  luacheck"; luacheck --quiet $(ALL_LUA)
	@echo "  luac5.1"; luac5.1 -p $(LUA_FILES)

# How the bench runs LuaJIT, where that and what is built for 5.1 are there.
LUAJIT_RUN = $(if $(and $(shell command -v luajit),$(wildcard build/lua5.1/lmm/core.so)),\
  env LUA_CPATH='$(CURDIR)/build/lua5.1/?.so;;' luajit)
bench: ## speed and memory, as ratios measured side by side, or GROUPs of it in BENCH="asks ..."; $$PYTHON may have pybase64
	@$(NEED) $(DEMO_PACKAGES) curl jq
	@$(MAKE) --no-print-directory all build/bench/server build/bench/bare
	@$(MAKE) --no-print-directory install DESTDIR= PREFIX="$(CURDIR)/build/bench/installed" >/dev/null
	@$(RUN) BUILT=build/bench LUAJIT="$(LUAJIT_RUN)" $(LUA) bench/run.lua $(BENCH)

check-cost: ## counts of instructions, allocations and system calls against bench/limits.lua; UPDATE=1 writes that file
	@$(NEED) $(DEMO_PACKAGES)
	@$(NEED) valgrind || true
	@$(MAKE) --no-print-directory all build/bench/server build/bench/steady.so
	@LUA_PATH="./lua/?.lua;./lua/?/init.lua;;" LUA_CPATH="./$(BUILD)/?.so;;" BUILT=build/bench CC="$(CC)" UPDATE="$(UPDATE)" \
	  $(LUA) bench/cost.lua

build/bench/steady.so: bench/steady.c
	@mkdir -p $(@D)
	@$(CC) -std=c99 -D_GNU_SOURCE $(WARNINGS) -O2 -fPIC -shared -o $@ $<

build/bench/server: bench/server.c
	@mkdir -p $(@D)
	@$(CC) -std=c99 -D_GNU_SOURCE $(WARNINGS) -O2 -o $@ $<

build/bench/bare: bench/bare.c $(BUILD)/base64.o
	@mkdir -p $(@D)
	@$(CC) -std=c99 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(WARNINGS) -Isrc -O2 -o $@ $^ -lcurl -lb64 -l$(LUA)

COMMAND = $(DESTDIR)$(BINDIR)/lmm
# By its path, which saves starting env; by its name where that is no program's, or the path holds a space.
FOUND   = $(shell command -v $(LUA) 2>/dev/null)
PROGRAM = $(or $(if $(word 2,$(FOUND)),,$(filter /%,$(FOUND))),/usr/bin/env $(LUA))
install: all ## into $(DESTDIR)$(PREFIX), beside what is there for other Luas; their command lmm stays
	rm -rf "$(DESTDIR)$(LIBDIR)/lmm" "$(DESTDIR)$(LUADIR)/lmm" # a file of an older version would hide one of this
	install -d "$(DESTDIR)$(LIBDIR)/lmm" "$(DESTDIR)$(LUADIR)"
	install -m 755 $(MODULES) "$(DESTDIR)$(LIBDIR)/lmm"
	cd lua && find lmm -type f ! -name '*.so' -exec install -D -m 644 '{}' "$(DESTDIR)$(LUADIR)/{}" ';'
	install -d "$(DESTDIR)$(LUADIR)/lmm/compiled"
	find lua/lmm -name '*.lua' | $(LUA) .ci/compile.lua "$(DESTDIR)$(LUADIR)/lmm/compiled" "$(LUADIR)"
	@if [ ! -e "$(COMMAND)" ] || head -n 1 "$(COMMAND)" | grep -q '^#!.*[/ ]$(notdir $(LUA))$$'; then \
	  $(MAKE) --no-print-directory install-command; \
	else \
	  echo "$(COMMAND) stays as it is; 'make install-command LUA=$(LUA)' makes it run on $(LUA)"; \
	fi

install-vips: $(BUILD)/lmm/vips.so $(BUILD)/lmm/vips_engine.so ## lmm.vips alone, beside what is there
	install -d "$(DESTDIR)$(LIBDIR)/lmm"
	install -m 755 $^ "$(DESTDIR)$(LIBDIR)/lmm"

install-command: ## makes the command lmm run on LUA, for which the library is installed
	@[ -e "$(DESTDIR)$(LUADIR)/lmm/init.lua" ] || \
	  { echo "lmm is not installed for $(LUA): make install LUA=$(LUA)" >&2; exit 1; }
	install -d "$(DESTDIR)$(BINDIR)"
	sed -e '1s|.*|#!$(PROGRAM)|' \
	  -e '1a package.path, package.cpath = "$(LUADIR)/?.lua;$(LUADIR)/?/init.lua;" .. package.path, "$(LIBDIR)/?.so;" .. package.cpath' \
	  bin/lmm >"$(COMMAND)"
	chmod 755 "$(COMMAND)"
	@if $(LUA) -e 'require "argparse"' 2>/dev/null; then $(MAKE) --no-print-directory install-words; else \
	  echo "without lua-argparse there are no manual pages and no completions: make install-words adds them later"; fi

SHARE = $(DESTDIR)$(PREFIX)/share
BASH_COMPLETION = $(SHARE)/bash-completion/completions
ZSH_COMPLETION  = $(SHARE)/zsh/site-functions
FISH_COMPLETION = $(SHARE)/fish/vendor_completions.d
MANUAL = $(SHARE)/man/man1
install-words: all ## the manual pages, and what bash, zsh and fish complete by
	install -d "$(BASH_COMPLETION)" "$(ZSH_COMPLETION)" "$(FISH_COMPLETION)" "$(MANUAL)"
	@$(RUN) $(LUA) bin/lmm completion bash >"$(BASH_COMPLETION)/lmm"
	@$(RUN) $(LUA) bin/lmm completion zsh >"$(ZSH_COMPLETION)/_lmm"
	@$(RUN) $(LUA) bin/lmm completion fish >"$(FISH_COMPLETION)/lmm.fish"
	@$(RUN) $(LUA) bin/lmm manual --into "$(MANUAL)"

uninstall: ## removes what install put under PREFIX, for every Lua
	for abi in $(sort $(ABIS) $(LUA_ABI)); do \
	  rm -rf "$(DESTDIR)$(PREFIX)/lib/lua/$$abi/lmm" "$(DESTDIR)$(PREFIX)/share/lua/$$abi/lmm"; done
	rm -rf "$(DESTDIR)$(LIBDIR)/lmm" "$(DESTDIR)$(LUADIR)/lmm"
	! grep -qsF -e '"$(PREFIX)/share/lua/' -e '"$(LUADIR)/' "$(COMMAND)" || \
	  rm -f "$(COMMAND)" "$(BASH_COMPLETION)/lmm" "$(ZSH_COMPLETION)/_lmm" "$(FISH_COMPLETION)/lmm.fish" \
	    "$(MANUAL)"/lmm.1 "$(MANUAL)"/lmm-*.1

clean: ## removes what was built
	rm -rf build lmm src/*.o lua/lmm/*.so

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18


.PHONY: all core vips install-vips demo nvim test test-vllm spec asan valgrind gc storm soak fuzz oom lint bench check-cost install install-command install-words uninstall clean help
