# SPDX-License-Identifier: GPL-2.0
"""
Makes an expanded thread small: what it alone writes becomes registers, and what
is known before any other thread runs is worked out.
"""

import re

from csubset import SourceError
from nodes import Event, If, Set, events, leaves, nested, words
from vocabulary import STARTS


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
		step = {'inc': ' + 1', 'dec': ' - 1'}.get(name.split('_')[1])
		if step:
			return [Set(mine, mine + step)] + store + \
				[Set(event.reg, mine)]
		if name.startswith('atomic_cmpxchg'):
			return [Set(event.reg, mine),
				If('%s == %s' % (mine, nested(args[0])),
				   [Set(mine, args[1])] + store, [])]
		raise SourceError('%s of what one thread keeps' % name)


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
