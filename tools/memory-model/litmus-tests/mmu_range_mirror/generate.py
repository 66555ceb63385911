#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Make litmus tests of the section guard out of the guard's own source.

usage: generate.py SOURCE-TREE OUTPUT-DIRECTORY

herd7 knows neither functions nor loops nor interrupts. A template (*.in) is a
litmus test whose threads call the functions of include/linux/mmu_range_mirror.h
and mm/mmu_range_mirror.c by name; here the calls are replaced by what those
functions say today, statement by statement, so that the models cannot drift
from the code. What no rule below has a word for is an error, never ignored.

An interrupt is code inside the interrupted thread. A template is written out
once for every place in thread P0 where it can land.

The file "controls" lists edits of the source that must make a test fail, and
"core.c" says what the kernel's own functions do.
"""

import fnmatch
import itertools
import os
import re
import sys

import csubset
from csubset import SourceError

SOURCES = ('include/linux/mmu_range_mirror.h', 'mm/mmu_range_mirror.c',
	   'mm/mmu_mirror_tlb.c')
HERE = os.path.dirname(os.path.abspath(__file__))

# Shared memory. What is per mirror takes the mirror's suffix ("window2").
PER_DOMAIN = {'count', 'published', 'mask', 'dropped', 'drained'}
PER_MIRROR = {'kaddr', 'invalidate_seq', 'marked', 'shadow'}
PER_TLB = {'marks', 'flushed', 'cached'}
PER_MM = {'mm_seq', 'mm_lock', 'pte', 'dirty', 'online',
	  'ptl'}
# Of each thread its own: what is gathered, and the answer to its command.
PER_THREAD = {'nr', 'full', 'done'}
# Struct members that go by another name in the models.
RENAMED = {'spin': 'window_lock'}
LOCKS = {'window_lock', 'mm_lock', 'ptl'}
ATOMICS = {'dropped', 'drained', 'marks', 'flushed'}
POINTERS = {'kaddr', 'shadow'}

CONSTANT_MEMBERS = {'mutex': 0, 'writable': 1, 'wait_sleeps': 0}
# Counts that nobody decides by.
STATISTICS = {'installed', 'dropped_pages', 'nr_dirtied', 'collisions', 'drops',
	      'nr_added', 'nr_ranges', 'nr_commands', 'nr_full', 'nr_syncs'}

CONSTANTS = {'NULL': 0, 'EAGAIN': 11, 'true': 1, 'false': 0, 'MMU_MIRROR_COMPLETED': 16}
# Nobody adds a range to what is gathered: it is all, or nothing.
CONSTANT_CALLS = {'mmu_notifier_range_blockable': 1, 'window_page_ok': 1,
		  'IS_ENABLED': 1, 'offset_in_page': 0, 'array_index_nospec': 0,
		  'gather_is_full': 1}
# No memory is shared through these, or none that a test is about.
IGNORED = {'preempt_disable', 'preempt_enable', 'WARN_ON_ONCE', 'cpu_relax',
	   'inject', 'domain_account_wait', 'mmu_range_mirror_assert_held',
	   'mmu_mirror_window_prefetch', 'put_pages', '__acquire'}
# Addresses, sizes and times: their values decide nothing here.
OPAQUE_CALLS = {'this_cpu_ptr', 'per_cpu_ptr', 'smp_processor_id', 'min', 'max',
		'ktime_get_ns', 'BITS_TO_LONGS', 'page_folio'}
OPAQUE_NAMES = {'PAGE_SIZE', 'PAGE_SHIFT', 'BITS_PER_LONG', 'nr_cpu_ids',
		'FOLL_WRITE', 'WINDOW_RETRIES', 'drain_mask', 'mm', 'tlb', 'cpu', 'folio',
		'notifier'}
# The same object, seen as its parent or child.
CASTS = {'container_of', 'to_window', 'likely', 'unlikely', 'cpumask_bits'}
# The mirrors that a template may be about: which hooks they have.
MIRRORS = {
	'window': {'invalidate': 'window_invalidate', 'wait': 'window_wait'},
	'device': {'invalidate': 'device_invalidate', 'tlb': 'device_tlb',
		   'flush_all': 'device_flush_all', 'sync': 'device_sync'},
}
# Members that say whether there is such a hook.
OPTIONAL_HOOKS = {'wait', 'tlb'}
# What is set in the state that a test starts in.
STARTS = {
	'published': {'published': '1', 'mask': '1'},
	'unpublished': {},
	'cached': {'cached': 'page'},
	'empty': {},
}
# Here conditions on opaque values are the caller's mistakes: they are false.
CHECKS_ARGUMENTS = {'mmu_mirror_window_ptr'}

FENCES = {'smp_mb', 'smp_acquire__after_ctrl_dep', 'smp_rmb', 'smp_wmb', 'barrier', 'synchronize_rcu',
	  'rcu_read_lock', 'rcu_read_unlock', 'smp_mb__before_atomic',
	  'smp_mb__after_atomic'}
NO_LANDING = {'barrier', 'rcu_read_lock', 'rcu_read_unlock'}
LOADS = {'READ_ONCE': 'READ_ONCE(*%s)', 'smp_load_acquire': None,
	 'atomic_read': None, 'atomic_read_acquire': None}
STORES = {'WRITE_ONCE': 'WRITE_ONCE(*%s, %s)', 'smp_store_release': None,
	  'atomic_set': None, 'atomic_set_release': None}
ATOMIC_RETURN = re.compile(r'atomic_(inc_return|cmpxchg|xchg|fetch_\w+?)'
			   r'(_relaxed|_acquire|_release)?$')
ATOMIC_VOID = {'atomic_inc', 'atomic_add', 'atomic_or', 'atomic_andnot'}


# Values

class Num:
	def __init__(self, value):
		self.value = int(value)

	def __str__(self):
		return str(self.value)


class Text:
	"""An expression over a thread's registers, and the registers."""
	def __init__(self, text, regs=()):
		self.text = text
		self.regs = frozenset(regs)

	def __str__(self):
		return self.text


class Shared:
	"""The address of a shared variable."""
	def __init__(self, name):
		self.name = name

	def __str__(self):
		return self.name


class Opaque:
	"""Something that no test depends on; @suffix says whose it is."""
	def __init__(self, suffix=''):
		self.suffix = suffix


class Object(Opaque):
	"""The same, and known not to be NULL."""


class Function(Opaque):
	def __init__(self, name):
		super().__init__()
		self.name = name


# Code of a thread

class Event:
	"""A memory access or a fence."""
	def __init__(self, text, what, shared=None, reg=None, stored=None,
		     rmw=None):
		self.text = text
		self.what = what
		self.shared = shared
		self.reg = reg
		self.stored = stored
		self.rmw = rmw
		# The same in registers, where no other thread can tell.
		self.local = None

	def writes(self):
		return self.stored is not None or self.rmw


class Set:
	def __init__(self, reg, text):
		self.reg = reg
		self.text = text


class If:
	def __init__(self, cond, then, other):
		self.cond = cond
		self.then = then
		self.other = other


class Local:
	"""
	Keeps in registers what a thread alone writes: it reads its own last
	value, and if nobody else reads it, there is no shared variable. That
	takes order away, never adds any, and makes herd7 a hundred times faster.
	"""

	def __init__(self, threads, extra, init, observed):
		self.readers = {}
		self.loaded = set()
		self.writers = {}
		self.init = init
		# These are reached through pointers, too.
		pages = {value for value in init.values() if not value.isdigit()}
		pages |= observed | {'page'}
		for thread in threads:
			for event in events(thread.nodes + extra.get(thread, [])):
				if not event.shared or event.shared in pages:
					continue
				self.readers.setdefault(event.shared,
							set()).add(thread)
				if event.reg:
					self.loaded.add(event.shared)
				if event.writes():
					self.writers.setdefault(event.shared,
								set()).add(thread)

	def convert(self, thread, nodes):
		for event in events(nodes):
			name = event.shared
			if name in self.readers and name not in self.writers:
				event.local = [Set(event.reg, str(
					self.init.get(name, 0)))]
				continue
			if name in self.readers and name not in self.loaded:
				event.local = []
				continue
			if self.writers.get(name) != {thread}:
				continue
			alone = self.readers[name] == {thread}
			mine = 'my_' + name
			thread.initial[mine] = self.init.get(name, 0)
			if str(thread.initial[mine]).isidentifier():
				thread.share(thread.initial[mine])
			store = [] if alone else self.store(event, mine)
			event.local = self.registers(event, mine, store)
			if alone:
				thread.shared.pop(name, None)

	@staticmethod
	def store(event, mine):
		"""What is left of a write for the other threads to read."""
		if not event.rmw:
			return [Event(event.text, event.what)]
		name = event.rmw[0]
		order = re.search('(_relaxed|_acquire|_release)?$', name).group(0)
		if order == '_release':
			return [Event('smp_store_release(%s, %s)' %
				      (event.shared, mine), event.what)]
		store = Event('WRITE_ONCE(*%s, %s)' % (event.shared, mine),
			      event.what)
		if order:
			return [store]
		fence = Event('smp_mb()', 'smp_mb')
		return [fence, store, fence]

	@staticmethod
	def registers(event, mine, store):
		if event.stored is not None:
			return [Set(mine, event.stored)] + store
		if not event.rmw:
			return [Set(event.reg, mine)]
		name, args = event.rmw
		if name.startswith('atomic_inc_return'):
			return [Set(mine, mine + ' + 1')] + store + \
				[Set(event.reg, mine)]
		if name.startswith('atomic_cmpxchg'):
			return [Set(event.reg, mine),
				If('%s == %s' % (mine, nested(args[0])),
				   [Set(mine, args[1])] + store, [])]
		raise SourceError('%s of what one thread keeps' % name)


def nested(text):
	return '(%s)' % text if ' ' in text else text


def is_comparison(text):
	return bool(re.search(r' (==|!=|<|>|<=|>=) ', text))


class Frame:
	"""One expansion of one function."""
	def __init__(self, name, body, variables):
		self.name = name
		self.assigned = csubset.assigned(body)
		self.variables = variables
		self.result = None
		self.result_reg = None
		self.depth = 0


class Thread:
	"""Expands the calls of one thread of a template."""

	def __init__(self, program, hooks, name):
		self.program = program
		self.hooks = hooks
		self.name = name
		self.nodes = []
		self.depth = 0
		self.used = {}
		self.initial = {}
		self.mutable = set()
		self.shared = {}
		self.assumptions = []
		self.sends = None
		self.serial = itertools.count()
		self.callers = []

	# Emission

	def fresh(self, base):
		n = self.used.get(base, 0) + 1
		self.used[base] = n
		return base if n == 1 else '%s%d' % (base, n)

	def initialized(self, base, value):
		reg = self.fresh(base)
		self.initial[reg] = value
		self.mutable.add(reg)
		return reg

	def share(self, name):
		base = name.rstrip('0123456789')
		if base in LOCKS:
			self.shared[name] = 'spinlock_t *'
		elif base in ATOMICS:
			self.shared[name] = 'atomic_t *'
		elif base in POINTERS:
			self.shared[name] = 'int **'
		else:
			self.shared[name] = 'int *'
		return name

	def emit(self, node):
		self.nodes.append(node)

	def branch(self, cond, then, other=lambda: None):
		"""Emit an if, whose branches the two functions emit."""
		outer = self.nodes
		self.depth += 1
		self.nodes = then_nodes = []
		then()
		self.nodes = other_nodes = []
		other()
		self.depth -= 1
		self.nodes = outer
		if then_nodes or other_nodes:
			self.emit(If(cond, then_nodes, other_nodes))

	def load(self, fmt, name, shared, dest):
		reg = dest or self.fresh('r_' + (shared.rstrip('*') or 'value'))
		self.emit(Event(fmt, name + '-load', shared, reg))
		return Text(reg, [reg])

	def assume(self, cond):
		"""Of the executions, keep those where @cond is true."""
		if isinstance(cond, Num) and cond.value:
			return
		reg = self.initialized('r_assumed', 1)
		self.emit(Set(reg, str(self.truth(cond))))
		self.assumptions.append(reg)

	# Expressions

	def operator(self, op, left, right):
		regs = set()
		for side in (left, right):
			regs |= getattr(side, 'regs', frozenset())
		return Text('%s %s %s' % (nested(str(left)), op,
					  nested(str(right))), regs)

	def truth(self, value):
		"""As 0 or 1."""
		if isinstance(value, Object):
			return Num(1)
		if isinstance(value, Num):
			return Num(value.value != 0)
		if isinstance(value, Opaque) or is_comparison(str(value)):
			return value
		return self.operator('!=', value, Num(0))

	def no(self, value):
		if isinstance(value, Object):
			return Num(0)
		if isinstance(value, Num):
			return Num(not value.value)
		if isinstance(value, Opaque):
			return value
		return self.operator('==', value, Num(0))

	def member(self, suffix, name):
		name = RENAMED.get(name, name)
		if name in PER_DOMAIN or name in PER_TLB or name in PER_MM:
			return Shared(self.share(name))
		if name in PER_MIRROR or name == 'window_lock':
			return Shared(self.share(name + suffix))
		if name in PER_THREAD:
			return Shared(self.share('%s_%s' %
						 (name, self.name.lower())))
		return None

	def lvalue(self, expr, frame):
		"""Shared, a variable's name, '*register', or None: statistics."""
		kind = expr[0]
		if kind == 'id':
			name = expr[1]
			if isinstance(frame.variables.get(name), Shared):
				return Shared(self.share(name))
			if name in frame.variables:
				return name
		elif kind == 'member':
			if expr[2] in STATISTICS or expr[2] == 'tlb':
				return None
			base = self.eval(expr[1], frame)
			if isinstance(base, Opaque):
				found = self.member(base.suffix, expr[2])
				if found:
					return found
		elif kind == 'index':
			return self.lvalue(expr[1], frame)
		elif kind == 'call' and expr[1] == ('id', 'cpumask_bits'):
			return self.lvalue(expr[2][0], frame)
		elif kind == 'un' and expr[1] == '*':
			value = self.eval(expr[2], frame)
			if isinstance(value, Shared):
				return value
			return '*' + str(value)
		raise SourceError('not a place to store to: %s' % (expr,))

	def eval(self, expr, frame, dest=None):
		return getattr(self, 'eval_' + expr[0])(expr, frame, dest)

	def eval_num(self, expr, _frame, _dest):
		return Num(expr[1])

	def eval_type(self, _expr, _frame, _dest):
		return Opaque()

	def eval_id(self, expr, frame, _dest):
		name = expr[1]
		if name in frame.variables:
			value = frame.variables[name]
			if isinstance(value, Shared):
				self.share(value.name)
			return value
		if name in CONSTANTS:
			return Num(CONSTANTS[name])
		if name in OPAQUE_NAMES:
			return Opaque()
		if self.program.has(name):
			return Function(name)
		raise SourceError('unknown name: %s' % name)

	def eval_member(self, expr, frame, dest):
		name = expr[2]
		if name in CONSTANT_MEMBERS:
			return Num(CONSTANT_MEMBERS[name])
		if name in OPTIONAL_HOOKS:
			return Object() if name in self.hooks else Num(0)
		if name == 'mask':
			return self.lvalue(expr, frame)
		base = self.eval(expr[1], frame)
		if not isinstance(base, Opaque):
			raise SourceError('not a structure: %s' % (expr,))
		found = self.member(base.suffix, name)
		if not found:
			return Opaque(base.suffix)
		if found.name.rstrip('0123456789') in LOCKS:
			return found
		return self.load('*' + found.name, found.name, found.name, dest)

	def eval_index(self, expr, frame, dest):
		base = expr[1]
		if base[0] == 'id' and isinstance(frame.variables.get(base[1]),
						  Opaque):
			return frame.variables[base[1]]
		place = self.lvalue(expr, frame)
		if isinstance(place, Shared):
			return self.load('*' + place.name, place.name,
					 place.name, dest)
		return frame.variables[place]

	def eval_un(self, expr, frame, dest):
		op = expr[1]
		if op == '&':
			inner = expr[2]
			if inner[0] == 'member':
				base = self.eval(inner[1], frame)
				found = self.member(base.suffix, inner[2])
				return found or Opaque(base.suffix)
			place = self.lvalue(inner, frame)
			if isinstance(place, Shared):
				return place
			return frame.variables[place]
		if op == '*':
			place = self.lvalue(expr, frame)
			if isinstance(place, Shared):
				return self.load('*' + place.name, place.name,
						 place.name, dest)
			return self.load(place, 'page', '', dest)
		value = self.eval(expr[2], frame)
		if op == '!':
			return self.no(value)
		if isinstance(value, Num):
			return Num(~value.value if op == '~' else -value.value)
		raise SourceError('operator %s' % op)

	def eval_bin(self, expr, frame, _dest):
		op = expr[1]
		left = self.eval(expr[2], frame)
		if op in ('&&', '||'):
			return self.short_circuit(op, left, expr[3], frame)
		right = self.eval(expr[3], frame)
		if isinstance(left, Num) and isinstance(right, Num):
			return Num(eval('%s %s %s' % (left, op, right), {}))
		if isinstance(left, Opaque) or isinstance(right, Opaque):
			return Opaque(getattr(left, 'suffix', ''))
		if op in ('+', '-') and isinstance(right, Num) and \
		   not right.value:
			return left
		return self.operator(op, left, right)

	def short_circuit(self, op, left, right, frame):
		if isinstance(left, Num):
			if bool(left.value) == (op == '||'):
				return self.truth(left)
			return self.truth(self.eval(right, frame))
		if isinstance(left, Opaque):
			self.eval(right, frame)
			return left
		outer = self.nodes
		self.depth += 1
		self.nodes = inner = []
		value = self.eval(right, frame)
		self.depth -= 1
		self.nodes = outer
		if isinstance(value, Opaque):
			raise SourceError('half a condition is opaque')
		if not inner:
			if isinstance(value, Num):
				if bool(value.value) == (op == '||'):
					return Num(op == '||')
				return self.truth(left)
			return self.operator('&' if op == '&&' else '|',
					     self.truth(left),
					     self.truth(value))
		reg = self.initialized('r_cond', 0)
		if op == '||':
			self.emit(Set(reg, '1'))
			left = self.no(left)
		inner.append(Set(reg, str(self.truth(value))))
		self.emit(If(str(left), inner, []))
		return Text(reg, [reg])

	def eval_cond(self, expr, frame, _dest):
		value = self.eval(expr[1], frame)
		if isinstance(value, Num):
			return self.eval(expr[2 if value.value else 3], frame)
		raise SourceError('a ?: that is not known')

	def eval_assign(self, expr, frame, _dest):
		_, op, left, right = expr
		place = self.lvalue(left, frame)
		if place is None:
			return Num(0)
		if op:
			right = ('bin', op, left, right)
		if isinstance(place, str) and not place.startswith('*'):
			self.set_variable(place, right, frame)
			return frame.variables[place]
		value = self.eval(right, frame)
		name = place.name if isinstance(place, Shared) else place[1:]
		shared = place.name if isinstance(place, Shared) else ''
		self.emit(Event('*%s = %s' % (name, value),
				'%s-store' % (shared or 'page'), shared,
				stored=str(value)))
		return value

	def set_variable(self, name, expr, frame):
		old = frame.variables[name]
		reg = str(old) if isinstance(old, Text) and \
			str(old) in self.mutable else None
		if reg is None:
			reg = self.fresh('r_' + name if frame.name else name)
			self.mutable.add(reg)
		before = len(self.nodes)
		value = self.eval(expr, frame, reg)
		if isinstance(value, Opaque):
			frame.variables[name] = value
			return
		if str(value) != reg or len(self.nodes) == before:
			self.emit(Set(reg, str(value)))
		frame.variables[name] = Text(reg, [reg])

	# Calls

	def eval_call(self, expr, frame, dest):
		_, callee, args = expr
		if callee[0] == 'member':
			name = self.hooks.get(callee[2])
		else:
			name = callee[1]
		if name is None:
			raise SourceError('a call of %s' % (callee,))
		if name in CASTS:
			return self.eval(args[0], frame)
		if name in IGNORED:
			return Num(0)
		if name in CONSTANT_CALLS:
			return Num(CONSTANT_CALLS[name])
		if name in OPAQUE_CALLS:
			return Opaque()
		if name == 'this_cpu_cpumask_var_ptr':
			reg = self.initialized('r_mask_copy', 0)
			return Text(reg, [reg])
		if name == 'page_address':
			return Shared(self.share('page'))
		builtin = self.builtin(name.replace('atomic_long_', 'atomic_'),
				       args, frame, dest)
		if builtin is not None:
			return builtin
		return self.expand(name, [self.eval(a, frame) for a in args])

	def place(self, arg, by_name, frame):
		"""The shared variable that a primitive's argument denotes."""
		if by_name:
			return self.lvalue(arg, frame)
		if arg[0] == 'un' and arg[1] == '&':
			return self.lvalue(arg[2], frame)
		return self.eval(arg, frame)

	def builtin(self, name, args, frame, dest):
		if name in FENCES:
			if name == 'smp_acquire__after_ctrl_dep':
				name = 'smp_rmb'
			self.emit(Event(name + '()', name))
			return Num(0)
		if name in ('spin_lock', 'spin_unlock'):
			where = self.eval(args[0], frame)
			self.emit(Event('%s(%s)' % (name, where), name))
			return Num(0)
		if name in LOADS:
			where = self.place(args[0], name == 'READ_ONCE', frame)
			return self.load_through(name, where, dest)
		if name in STORES:
			where = self.place(args[0], name == 'WRITE_ONCE', frame)
			if where is None:
				return Num(0)
			value = self.eval(args[1], frame)
			return self.store_through(name, where, value)
		if name == 'assume':
			self.assume(self.eval(args[0], frame))
			return Num(0)
		if name == 'interrupt':
			return self.interrupt(args, frame)
		if name == 'command':
			return self.interrupt(args, frame,
					      'smp_store_release(%s, 1)')
		if name in ATOMIC_VOID:
			if self.statistic(args[-1]):
				return Num(0)
			values = [self.eval(a, frame) for a in args]
			shared = str(values[-1])
			text = '%s(%s)' % (name, ', '.join(map(str, values)))
			what = 'clear' if 'not' in name else 'set'
			self.emit(Event(text, '%s-%s' % (shared, what)))
			return Num(0)
		if ATOMIC_RETURN.match(name):
			values = [self.eval(a, frame) for a in args]
			text = '%s(%s)' % (name, ', '.join(map(str, values)))
			shared = next(str(v) for v in values
				      if isinstance(v, Shared))
			result = self.load(text, shared, shared, dest)
			self.nodes[-1].rmw = (name, [str(v) for v in values[1:]])
			return result
		return None

	@staticmethod
	def statistic(arg):
		return arg[:2] == ('un', '&') and arg[2][0] == 'member' and \
			arg[2][2] in STATISTICS

	def load_through(self, name, where, dest):
		if where is None:
			return Num(0)
		if not isinstance(where, Shared):
			text = where if isinstance(where, str) else '*' + str(where)
			if name != 'READ_ONCE':
				raise SourceError('%s(%s)' % (name, text))
			if not text.startswith('*'):
				raise SourceError('a marked access to a local')
			return self.load('READ_ONCE(%s)' % text, 'page', '',
					 dest)
		fmt = LOADS[name] or name + '(%s)'
		return self.load(fmt % where.name, where.name, where.name, dest)

	def store_through(self, name, where, value):
		if isinstance(value, Opaque):
			raise SourceError('%s of an opaque value' % name)
		if not isinstance(where, Shared):
			text = str(where).lstrip('*')
			self.emit(Event('WRITE_ONCE(*%s, %s)' % (text, value),
					'page-store'))
			return value
		fmt = STORES[name] or name + '(%s, %s)'
		self.emit(Event(fmt % (where.name, value),
				where.name + '-store', where.name,
				stored=str(value)))
		return value

	def interrupt(self, args, frame, store='WRITE_ONCE(*%s, 1)'):
		if self.sends:
			raise SourceError('a thread with two interrupts')
		handler = self.eval(args[0], frame)
		if not isinstance(handler, Function):
			raise SourceError('which function is called?')
		self.sends = handler.name
		mine = self.name.lower()
		req, ack = self.share('request_' + mine), self.share('done_' + mine)
		self.emit(Event(store % req, 'interrupt', req, stored='1'))
		wait = self.eval(args[1], frame)
		if not isinstance(wait, Num):
			raise SourceError('is the interrupt waited for?')
		if wait.value:
			reg = self.fresh('r_done')
			self.emit(Event('READ_ONCE(*%s)' % ack,
					'interrupt-done', ack, reg))
			self.assumptions.append(reg)
		return Num(0)

	def expand(self, name, args):
		if name in self.callers:
			raise SourceError('%s calls itself' % name)
		params, body = self.program.function(name)
		frame = Frame(name, body, {})
		frame.depth = self.depth
		for i, param in enumerate(params):
			value = args[i] if i < len(args) else Opaque()
			if param in frame.assigned and isinstance(value,
								  (Num, Text)):
				reg = self.fresh('r_' + param)
				self.mutable.add(reg)
				self.emit(Set(reg, str(value)))
				value = Text(reg, [reg])
			frame.variables[param] = value
		self.callers.append(name)
		self.run(body, frame)
		self.callers.pop()
		if frame.result_reg:
			return Text(frame.result_reg, [frame.result_reg])
		return frame.result if frame.result is not None else Num(0)

	# Statements

	def run(self, statements, frame):
		"""Execute a function's remaining statements."""
		statements = list(statements)
		while statements:
			statement = statements.pop(0)
			kind = statement[0]
			if kind == 'mark':
				continue
			if kind == 'goto':
				while statements[0] != ('mark', statement[1]):
					statements.pop(0)
				continue
			if kind == 'return':
				self.do_return(statement, frame)
				return
			if kind in ('while', 'for', 'foreach'):
				statements = self.unroll(statement, frame) + \
					statements
				continue
			if kind == 'if':
				statements = self.do_if(statement, statements,
							frame)
				continue
			getattr(self, 'do_' + kind)(statement, frame)

	def do_expr(self, statement, frame):
		self.eval(statement[1], frame)

	def do_assume(self, statement, frame):
		self.assume(self.no(self.eval(statement[1], frame)))

	def do_decl(self, statement, frame):
		_, name, init, array = statement
		if init is None:
			frame.variables[name] = Opaque()
			return
		if array:
			raise SourceError('an array with an initializer')
		if name in frame.assigned:
			frame.variables[name] = Opaque()
			self.set_variable(name, init, frame)
			return
		value = self.eval(init, frame)
		if getattr(value, 'regs', frozenset()) & self.mutable:
			reg = self.fresh('r_' + name)
			self.emit(Set(reg, str(value)))
			value = Text(reg, [reg])
		frame.variables[name] = value

	def do_return(self, statement, frame):
		if statement[1] is None:
			return
		value = self.eval(statement[1], frame)
		if self.depth == frame.depth and not frame.result_reg:
			frame.result = value
			return
		if isinstance(value, Opaque):
			raise SourceError('%s returns an opaque value' % frame.name)
		if not frame.result_reg:
			frame.result_reg = self.initialized('r_' + frame.name, 0)
		self.emit(Set(frame.result_reg, str(value)))

	def do_if(self, statement, rest, frame):
		"""Return what is left to be executed after it."""
		_, cond, then, other = statement
		value = self.eval(cond, frame)
		if isinstance(value, Object):
			value = self.truth(value)
		if isinstance(value, Opaque):
			if frame.name not in CHECKS_ARGUMENTS:
				raise SourceError('%s: an if on what is not modelled'
						  % frame.name)
			value = Num(0)
		if isinstance(value, Num):
			return (then if value.value else other) + rest
		# What follows belongs to both branches as far as one may skip it.
		exits = [s for s in csubset.walk(then + other)
			 if s[0] in ('goto', 'return')]
		keep = 0
		for leave in exits:
			if leave[0] == 'return':
				keep = len(rest)
			else:
				keep = max(keep, rest.index(('mark', leave[1])) + 1)
		shared, rest = rest[:keep], rest[keep:]
		before = dict(frame.variables)
		after = []

		def run_branch(branch):
			frame.variables = dict(before)
			self.run(branch + shared, frame)
			after.append(frame.variables)

		self.branch(str(value), lambda: run_branch(then),
			    lambda: run_branch(other))
		frame.variables = self.join(before, *after)
		return rest

	@staticmethod
	def join(before, left, right):
		"""A variable keeps its register, or is not used any more."""
		result = dict(before)
		for name in before:
			values = {str(v) if isinstance(v, (Num, Text)) else id(v)
				  for v in (left[name], right[name])}
			if len(values) == 1:
				result[name] = left[name]
			elif isinstance(before[name], Text):
				raise SourceError('%s is two things' % name)
			else:
				result[name] = Opaque()
		return result

	def unroll(self, statement, frame):
		"""
		One page, one CPU, one word, one try: a counting loop runs once. A
		loop that waits runs until its condition is false, which one
		more look may find; what it saw before makes no difference.
		"""
		end = next(self.serial)
		again = next(self.serial)
		body = self.jumps(statement[-1], end, again)
		tail = [('mark', end)]
		if statement[0] == 'while':
			cond = statement[1]
			return [('if', cond,
				 body + [('mark', again), ('assume', cond)],
				 [])] + tail
		if statement[0] == 'for':
			_, init, cond, _, _ = statement
			if init[0] != 'assign' or init[2][0] != 'id':
				raise SourceError('a for without a counter')
			frame.variables[init[2][1]] = self.eval(init[3], frame)
			value = self.eval(cond, frame)
			body += [('mark', again)]
			if isinstance(value, Opaque):
				return body + tail
			frame.variables['<loop %d>' % end] = value
			return [('if', ('id', '<loop %d>' % end), body, [])] + \
				tail
		_, name, args, _ = statement
		which = {'for_each_set_bit': 1, 'for_each_cpu': 1}.get(name)
		if which is None:
			raise SourceError(name)
		frame.variables[args[0][1]] = Opaque()
		bits = self.eval(args[1], frame)
		if isinstance(bits, Shared):
			bits = self.load('READ_ONCE(*%s)' % bits, bits.name,
					 bits.name, None)
		value = self.operator('&', bits, Num(1))
		frame.variables['<loop %d>' % end] = value
		return [('if', ('id', '<loop %d>' % end),
			 body + [('mark', again)], [])] + tail

	def jumps(self, statements, end, again):
		result = []
		for statement in statements:
			if statement[0] == 'break':
				result.append(('goto', end))
			elif statement[0] == 'continue':
				result.append(('goto', again))
			elif statement[0] == 'if':
				result.append(('if', statement[1],
					       self.jumps(statement[2], end, again),
					       self.jumps(statement[3], end,
							  again)))
			else:
				result.append(statement)
		return result


class Program:
	"""The source, perhaps with a few edits."""

	def __init__(self, tree):
		self.texts = []
		for path in SOURCES:
			with open(os.path.join(tree, path), encoding='utf-8') as f:
				self.texts.append(csubset.strip(f.read()))
		with open(os.path.join(HERE, 'core.c'), encoding='utf-8') as f:
			self.texts.append(csubset.strip(f.read()))
		self.edited = {}

	def find(self, name):
		for text in self.texts:
			found = csubset.find_function(text, name)
			if found:
				return found
		return None

	def has(self, name):
		return self.find(name) is not None

	def edit(self, name, old, new):
		"""Replace the one place in function @name that says @old."""
		if name in self.edited:
			params, body = self.edited[name]
		elif self.has(name):
			params, body = self.find(name)
			body = csubset.normalize(body)
		else:
			raise SourceError('no function %s' % name)
		old = csubset.normalize(old)
		if body.count(old) != 1:
			raise SourceError('%s says %d times: %s' %
					  (name, body.count(old), old))
		self.edited[name] = params, body.replace(old, new)

	def function(self, name):
		found = self.edited.get(name) or self.find(name)
		if not found:
			raise SourceError('unknown function: %s' % name)
		return found[0], csubset.parse(found[1])


class Template:
	"""A litmus test, but for the functions that it calls."""

	def __init__(self, path):
		with open(path, encoding='utf-8') as f:
			text = f.read()
		comment = re.search(r'\(\*(.*?)\*\)', text, re.DOTALL)
		lines = [line.strip().lstrip('*').strip()
			 for line in comment.group(1).strip().split('\n')]
		self.options = {'Broken': ['Sometimes', 'DATARACE']}
		while lines and ':' in lines[0]:
			key, _, value = lines.pop(0).partition(':')
			self.options[key] = value.split()
		self.doc = '\n'.join(lines).strip()
		rest = text[comment.end():]
		self.name = text.split()[1]
		start = rest.index('{')
		end = csubset.matching(rest, start, '{}')
		self.init = [line.strip() for line
			     in rest[start + 1:end - 1].strip().split('\n')]
		self.threads = {}
		for match in re.finditer(r'(?m)^(P\d|nested)$', rest[end:]):
			body = end + match.end()
			body_end = csubset.matching(rest, body, '{}')
			self.threads[match.group(1)] = csubset.parse(
				csubset.strip(rest[body:body_end]))
		self.exists = re.search(r'(?ms)^exists (.*)$', rest).group(1).strip()

	def values(self):
		values = {'online': '1'}
		values.update(re.findall(r'(\w+) = (\w+);', '\n'.join(self.init)))
		return values

	def shared_names(self):
		names = set()
		for line in self.init:
			names.update(re.findall(r'[A-Za-z_]\w*', line))
		return names


def events(nodes):
	for node in nodes:
		if isinstance(node, Event):
			yield node
		elif isinstance(node, If):
			yield from events(node.then)
			yield from events(node.other)


class Layout:
	"""Where in P0 which code is inserted, keyed by the event it precedes."""

	def __init__(self, nodes, inserted):
		self.nodes = nodes
		self.inserted = inserted

	def before(self, event):
		return [node for key, nodes in self.inserted
			if key is event for node in nodes]

	def expand(self, nodes, top=False):
		result = []
		for node in nodes:
			if isinstance(node, If):
				result.append(If(node.cond,
						 self.expand(node.then),
						 self.expand(node.other)))
				continue
			for extra in self.before(node):
				result += self.expand([extra])
			result.append(node)
		if top:
			for extra in self.before(None):
				result += self.expand([extra])
		return result

	def all(self):
		return self.expand(self.nodes, True)


class Folder:
	"""
	Works out what is known before any other thread runs: of a CPU that alone
	writes its count and its flag, nearly everything.
	"""

	def __init__(self, thread, nodes, start):
		self.initial = {reg: str(value)
				for reg, value in thread.initial.items()}
		for name, value in STARTS[start].items():
			self.initial['my_' + name] = value
			if value.isidentifier():
				thread.share(value)
		self.defined = {}
		for node in leaves(nodes):
			if node.reg:
				self.defined[node.reg] = \
					self.defined.get(node.reg, 0) + 1
		self.named = {}
		self.addresses = {name: 1 << 20 for name, kind
				  in thread.shared.items()}
		self.env = dict(self.initial)
		self.emitted = set()

	@staticmethod
	def substitute(text, env):
		return re.sub(r'[A-Za-z_]\w*',
			      lambda m: env.get(m.group(0), m.group(0)), text)

	def constant(self, text):
		try:
			return str(int(eval(text, {'__builtins__': {}})))
		except (NameError, SyntaxError, TypeError):
			pass
		if re.search('[!=]= 0', text):
			try:
				return str(int(eval(text, {'__builtins__': {}},
						    self.addresses)))
			except (NameError, SyntaxError, TypeError):
				pass
		return None

	def lookup(self, text, env):
		text = self.substitute(text, env)
		return self.constant(text) or text

	def set(self, reg, text, env):
		value = self.lookup(text, env)
		if reg.startswith('named_'):
			self.named[reg] = value
			return []
		for other in [r for r, v in env.items() if v == reg]:
			raise SourceError('a copy of %s in %s' % (reg, other))
		if value.isdigit() or value in self.addresses or \
		   self.defined.get(value) == 1:
			env[reg] = value
			return []
		env.pop(reg, None)
		self.emitted.add(reg)
		return [Set(reg, value)]

	def fold(self, nodes, env):
		result = []
		for node in nodes:
			if isinstance(node, If):
				result += self.fold_if(node, env)
			elif isinstance(node, Set):
				result += self.set(node.reg, node.text, env)
			elif node.local is not None:
				result += self.fold(node.local, env)
			else:
				event = Event(self.substitute(node.text, env),
					      node.what, node.shared, node.reg)
				env.pop(node.reg, None)
				self.emitted.add(node.reg)
				result.append(event)
		return result

	def fold_if(self, node, env):
		cond = self.lookup(node.cond, env)
		if cond.lstrip('-').isdigit():
			return self.fold(node.then if int(cond) else node.other,
					 env)
		ends = []
		branches = []
		for branch in (node.then, node.other):
			after = dict(env)
			branches.append(self.fold(branch, after))
			ends.append(after)
		for reg in set(ends[0]) | set(ends[1]):
			values = [end.get(reg) for end in ends]
			if values[0] == values[1]:
				env[reg] = values[0]
				continue
			env.pop(reg, None)
			unset = reg not in self.emitted and \
				self.initial.get(reg)
			for branch, value in zip(branches, values):
				if value is not None and value != unset:
					branch.append(Set(reg, value))
			self.emitted.add(reg)
		for reg in list(env):
			if reg not in ends[0] and reg not in ends[1]:
				env.pop(reg)
		return self.same(cond, *branches) or [If(cond, *branches)]

	def same(self, cond, then, other):
		"""A pointer or NULL: an if that only copies it."""
		if len(other) != 1 or not isinstance(other[0], Set) or \
		   cond != other[0].text + ' == 0':
			return None
		reg = other[0].reg
		if [(node.reg, node.text) for node in then
		    if isinstance(node, Set)] == [(reg, '0')] or \
		   (not then and self.initial.get(reg) == '0'):
			return other
		return None

	def run(self, nodes, needed):
		result = self.fold(nodes, self.env)
		for reg in needed:
			if reg in self.env:
				result.append(Set(reg, self.env[reg]))
		while True:
			used = set(needed)
			for node in self.everything(result):
				if isinstance(node, If):
					used |= words(node.cond)
				else:
					used |= words(node.text)
			pruned, changed = self.prune(result, used)
			if not changed:
				return pruned
			result = pruned

	def everything(self, nodes):
		for node in nodes:
			yield node
			if isinstance(node, If):
				yield from self.everything(node.then)
				yield from self.everything(node.other)

	def prune(self, nodes, used):
		result = []
		changed = False
		for node in nodes:
			if isinstance(node, If):
				then, one = self.prune(node.then, used)
				other, two = self.prune(node.other, used)
				changed = changed or one or two
				if then or other:
					result.append(If(node.cond, then, other))
				else:
					changed = True
			elif isinstance(node, Set) and node.reg not in used:
				changed = True
			else:
				result.append(node)
		return result, changed


def words(text):
	return set(re.findall(r'[A-Za-z_]\w*', text))


def leaves(nodes):
	for node in nodes:
		if isinstance(node, If):
			yield from leaves(node.then)
			yield from leaves(node.other)
		elif isinstance(node, Event) and node.local is not None:
			yield from leaves(node.local)
		else:
			yield node


def labels(nodes, prefix=''):
	"""(label, event) for each place where an interrupt can land."""
	seen = {}
	result = []
	for event in events(nodes):
		if event.what in NO_LANDING:
			continue
		n = seen[event.what] = seen.get(event.what, 0) + 1
		name = prefix + event.what + ('-%d' % n if n > 1 else '')
		result.append((name, event))
	return result


def decide(nodes, way, taken):
	"""
	Go one way to the interrupt of an invalidator: "sent", "unseen" (no
	reader's CPU is on the mask) or "early" (somebody else has waited).
	What is not gone through is cut off; @taken collects the conditions.
	"""
	result = []
	for node in nodes:
		if not isinstance(node, If) or \
		   not any(e.what == 'interrupt' for e in events([node])):
			result.append(node)
			continue
		inside = any(e.what == 'interrupt' for e in events(node.then))
		branch = node.then if inside else node.other
		deeper = any(isinstance(n, If) and
			     any(e.what == 'interrupt' for e in events([n]))
			     for n in branch)
		enter = way == 'sent' or (way == 'unseen' and deeper)
		reg = 'r_way%d' % (len(taken) + 1)
		taken[reg] = str(int(inside == enter))
		cond = node.cond
		if not is_comparison(cond):
			cond = nested(cond) + ' != 0'
		result.append(Set(reg, cond))
		if enter:
			result += decide(branch, way, taken)
		else:
			result += node.other if inside else node.then
	return result


class Test:
	"""One litmus test: threads, and what is inserted into P0."""

	def __init__(self, name, template, start, threads, layout, ways):
		self.name = name
		self.template = template
		self.ways = ways
		self.landed = [t for t, way in ways.items() if way == 'sent']
		self.filters = []
		self.bodies = []
		self.published = start == 'published'
		self.possible = True
		for thread in threads:
			nodes = thread.nodes
			if thread.name == 'P0':
				nodes = layout.all()
			self.add(thread, nodes, start)

	def add(self, thread, nodes, start):
		index = thread.name[1:]
		wanted = {reg: '1' for reg in thread.assumptions}
		if thread.sends:
			nodes = decide(nodes, self.ways[thread.name], wanted)
		if thread.name == 'P0':
			for name in self.landed:
				wanted['r_asked_' + name.lower()] = '1'
		folder = Folder(thread, nodes, start)
		needed = re.findall(r'\b%s:(\w+)' % index, self.template.exists)
		folded = folder.run(nodes, list(wanted) + needed)
		for name in self.landed if thread.name == 'P0' else ():
			if folder.named.get('named_' + name.lower(), '1') != '1':
				self.possible = False
		present = {node.reg for node in leaves(folded)}
		for reg, value in wanted.items():
			known = folder.env.get(reg)
			if known is None and reg not in present:
				continue
			if known is None:
				self.filters.append('%s:%s=%s' % (index, reg, value))
			elif known != value:
				self.possible = False
		# What is known already was only repeated for the filter.
		while folded and isinstance(folded[-1], Set) and \
				folded[-1].reg in wanted:
			folded.pop()
		self.bodies.append((thread, folded, folder.initial))

	def lines(self, nodes, indent):
		tab = '\t' * indent
		result = []
		for node in nodes:
			if isinstance(node, If):
				result += self.if_lines(node, indent)
			elif node.reg:
				result.append('%s%s = %s;' %
					      (tab, node.reg, node.text))
			else:
				result.append(tab + node.text + ';')
		return result

	def if_lines(self, node, indent):
		tab = '\t' * indent
		then = self.lines(node.then, indent + 1)
		other = self.lines(node.other, indent + 1)
		if not then:
			return ['%sif ((%s) == 0) {' % (tab, node.cond)] + \
				other + [tab + '}']
		result = ['%sif (%s) {' % (tab, node.cond)] + then
		if other:
			result += [tab + '} else {'] + other
		return result + [tab + '}']

	def thread_lines(self, thread, nodes, initial):
		lines = self.lines(nodes, 1)
		used = words('\n'.join(lines))
		params = ', '.join('%s%s' % (thread.shared[name], name)
				   for name in sorted(thread.shared)
				   if name in used)
		regs = list(dict.fromkeys(node.reg for node in leaves(nodes)
					  if node.reg))
		result = ['%s(%s)' % (thread.name, params), '{']
		for reg in regs:
			init = ' = ' + initial[reg] if reg in initial else ''
			result.append('\tint %s%s;' % (reg, init))
		return result + [''] + lines + ['}', '']

	def text(self, result, doc):
		out = ['C ' + self.name, '', '(*', ' * Result: ' + result, ' *']
		out += [(' * ' + line).rstrip() for line in doc.split('\n')]
		out += [' *)', '', '{']
		init = list(self.template.init)
		if self.published:
			init.append('mask = 1;')
		out += ['\t' + line for line in init if line] + ['}', '']
		for body in self.bodies:
			out += self.thread_lines(*body)
		if self.filters:
			out.append('filter (%s)' % ' /\\ '.join(self.filters))
		out.append('exists ' + self.template.exists)
		return '\n'.join(out) + '\n'


class Generator:
	"""All tests of one template on one program."""

	def __init__(self, template, program, edited=False):
		self.template = template
		self.program = program
		self.edited = edited
		variables = {'domain': Opaque(), 'window': Opaque(),
			     'window2': Opaque('2'), 'mirror': Opaque(),
			     'mirror2': Opaque('2')}
		hooks = MIRRORS[template.options.get('Mirror', ['window'])[0]]
		self.threads = []
		self.nested = []
		for name, body in template.threads.items():
			if name == 'nested':
				outer, p0.nodes = p0.nodes, []
				self.top(p0, body, variables)
				self.nested, p0.nodes = p0.nodes, outer
				continue
			thread = Thread(program, hooks, name)
			if name == 'P0':
				p0 = thread
			self.top(thread, body, variables)
			self.threads.append(thread)
		self.p0 = p0
		self.handlers = {}
		for thread in self.threads:
			if thread.sends:
				self.handlers[thread.name] = \
					self.handler(thread)
		extra = {p0: self.nested + [node for nodes
					    in self.handlers.values()
					    for node in nodes]}
		local = Local(self.threads, extra, template.values(),
			      words(template.exists))
		for thread in self.threads:
			local.convert(thread, thread.nodes + extra.get(thread, []))

	def top(self, thread, body, variables):
		frame = Frame('', body, dict(variables))
		for name in self.template.shared_names():
			frame.variables[name] = Shared(name)
		thread.run(body, frame)

	def handler(self, thread):
		"""The reader's side of one interrupt."""
		p0 = self.p0
		mine = thread.name.lower()
		asked = 'r_asked_' + mine
		outer, p0.nodes = p0.nodes, []
		req, done = 'request_' + mine, 'done_' + mine
		p0.share(req)
		p0.share(done)
		p0.initial[asked] = 0
		if 'mask' in p0.shared:
			p0.initial['my_named'] = 0
			p0.emit(Set('my_named', 'my_named | my_mask'))
			p0.emit(Set('named_' + mine, 'my_named'))
		p0.emit(Event('READ_ONCE(*%s)' % req, 'asked', req, asked))
		p0.expand(thread.sends, [Opaque()])
		p0.emit(Event('WRITE_ONCE(*%s, 1)' % done, 'done', done,
			      stored='1'))
		nodes, p0.nodes = p0.nodes, outer
		return nodes

	def tests(self):
		options = self.template.options
		swept = [name for name in options.get('Interrupts', [])
			 if name in self.handlers]
		for start in options['Starts']:
			for irq_name, irq in self.nestings():
				yield from self.sweep(start, irq_name, irq,
						      swept)

	def nestings(self):
		if not self.nested:
			return [('', [])]
		places = labels(self.p0.nodes) + [('end', None)]
		wanted = self.template.options.get('Nested', ['*'])
		return [('+nested-before-' + label, [(event, self.nested)])
			for label, event in places
			if any(fnmatch.fnmatch(label, p) for p in wanted)]

	def ways(self, thread):
		"""Those in brackets only an edited source can go."""
		ways = self.template.options.get(thread, ['early', 'unseen'])
		return [way.strip('()') for way in ways
			if self.edited or not way.startswith('(')]

	def sweep(self, start, irq_name, irq, swept):
		options = self.template.options
		places = labels(self.p0.nodes) + [('end', None)]
		if irq:
			places += labels(self.nested, 'nested-')
		if 'Places' in options:
			places = [(label, event) for label, event in places
				  if any(fnmatch.fnmatch(label, p)
					 for p in options['Places'])]
		none = {thread: [(way, None) for way in self.ways(thread)]
			for thread in self.handlers}
		choices = [none[thread] + (places if thread in swept else [])
			   for thread in self.handlers]
		for combination in itertools.product(*choices):
			inserted = list(irq)
			name = '%s+%s%s' % (self.template.name, start, irq_name)
			ways = {}
			for thread, (label, event) in zip(self.handlers,
							  combination):
				if label in ('early', 'unseen'):
					ways[thread] = label
					name += '+%s-%s' % (thread, label)
					continue
				ways[thread] = 'sent'
				name += '+%s-before-%s' % (thread, label)
				# Before what else comes there, outermost first.
				inserted.insert(0, (event, self.handlers[thread]))
			# A CPU on the mask is interrupted, unless it is offline.
			if ways and 'sent' not in ways.values() and \
			   not self.edited and (start == 'published' or
			    'unseen' not in ways.values()) and \
			   'online' not in self.template.shared_names():
				continue
			layout = Layout(self.p0.nodes, inserted)
			test = Test(name, self.template, start, self.threads,
				    layout, ways)
			if test.possible:
				yield test


def read_controls(path):
	"""Blocks of "key: value" lines; see the head of the file."""
	controls = []
	with open(path, encoding='utf-8') as f:
		text = re.sub(r'(?m)^#.*\n', '', f.read())
	if not text.strip():
		return []
	for block in re.split(r'\n\s*\n', text.strip()):
		block = re.sub(r'\n\s+', ' ', block)
		control = {'edits': []}
		for line in block.split('\n'):
			key, _, value = line.partition(':')
			if key.startswith('in '):
				old, arrow, new = value.partition('=>')
				if not arrow:
					raise SourceError('no => in: %s' % line)
				control['edits'].append((key[3:].strip(),
							 old.strip(), new.strip()))
			else:
				control[key] = value.strip()
		controls.append(control)
	return controls


def write(directory, test, result, doc):
	path = os.path.join(directory, test.name + '.litmus')
	with open(path, 'w', encoding='utf-8') as f:
		f.write(test.text(result, doc))


def write_guard(template, tree, output):
	for test in Generator(template, Program(tree)).tests():
		write(output, test, 'Never', template.doc)


def write_control(control, templates, tree, output):
	"""One test out of those that the edited source gives."""
	program = Program(tree)
	for edit in control['edits']:
		program.edit(*edit)
	name = control['test']
	template = templates[name.split('+')[0]]
	for test in Generator(template, program, True).tests():
		if test.name == name:
			break
	else:
		raise SourceError('no test %s' % name)
	test.name = 'control-' + control['control']
	doc = '%s\nThe test is %s with the source changed:\n' % \
		(control['shows'], name)
	for where, old, new in control['edits']:
		doc += '  %s: %s => %s\n' % (where, old, new or '(nothing)')
	write(output, test, ' '.join(template.options['Broken']), doc.rstrip())


def main():
	if len(sys.argv) != 3:
		sys.exit(__doc__)
	tree, output = sys.argv[1:]
	templates = {}
	failed = []

	for name in sorted(os.listdir(HERE)):
		if name.endswith('.in'):
			template = Template(os.path.join(HERE, name))
			templates[template.name] = template
	for name, template in templates.items():
		try:
			write_guard(template, tree, output)
		except SourceError as error:
			failed.append((name, error))
	for control in read_controls(os.path.join(HERE, 'controls')):
		try:
			write_control(control, templates, tree, output)
		except SourceError as error:
			failed.append(('control-' + control['control'], error))
	# The runner reports what could not be made as tests that failed.
	for name, error in failed:
		print('%s\t%s' % (name, error))
	return 0


if __name__ == '__main__':
	sys.exit(main())
