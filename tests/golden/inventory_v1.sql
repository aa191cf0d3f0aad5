BEGIN TRANSACTION;
CREATE TABLE disks (
  machine TEXT NOT NULL REFERENCES machines(uuid) ON DELETE CASCADE,
  id TEXT NOT NULL,
  pool TEXT NOT NULL,
  volume TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  attached INTEGER NOT NULL,
  PRIMARY KEY (machine, id),
  UNIQUE (pool, volume)
) STRICT;
INSERT INTO "disks" VALUES('9d2772e0-d4be-45ad-90a4-dfab59580b3c','vda','main','web.vda',8388608,1);
INSERT INTO "disks" VALUES('9d2772e0-d4be-45ad-90a4-dfab59580b3c','vdb','main','web.vdb',8388608,1);
INSERT INTO "disks" VALUES('dd774d9b-2b39-4beb-b7b5-f320f85ec2ee','vda','main','copy.vda',8388608,1);
INSERT INTO "disks" VALUES('dd774d9b-2b39-4beb-b7b5-f320f85ec2ee','vdb','main','copy.vdb',8388608,1);
CREATE TABLE job_steps (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  op TEXT NOT NULL,
  arguments TEXT NOT NULL
) STRICT;
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT UNIQUE,
  kind TEXT NOT NULL,
  object TEXT NOT NULL,
  locks TEXT NOT NULL,
  state TEXT NOT NULL,
  step TEXT NOT NULL,
  progress_done INTEGER NOT NULL,
  progress_total INTEGER NOT NULL,
  created_ns INTEGER NOT NULL,
  ended_ns INTEGER NOT NULL,
  error_code TEXT,
  error TEXT,
  result TEXT NOT NULL
) STRICT;
INSERT INTO "jobs" VALUES(1,'3fe5c26a597cc8f1d6774537b4c42993','machine.create','web','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c","machine_name:web"]','done','',0,0,1795865046880675800,1795865046923310753,NULL,NULL,'{"accelerator":"","allowed_operations":["start","delete","snapshot.create","snapshot.return","snapshot.clone","snapshot.delete"],"append":"","console_log":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.log","console_socket":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.sock","cpu_model":"qemu64","cpus":2,"created":"2026-11-28T11:24:06.880Z","created_ns":1795865046880382740,"current_parent":"","current_parent_name":"","description":"the shop","directory":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c","disks":[{"attached":true,"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"attached":true,"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"lock":null,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"name":"web","nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}],"pid":0,"pool":"main","snapshot_count":0,"started":"","started_ns":0,"state":"down","state_reason":"","status":"ok","uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c"}');
INSERT INTO "jobs" VALUES(2,'f336005b380182e0c153d7faa422e16f','snapshot.create','web@first','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c"]','done','',0,0,1795865046930841761,1795865046960433380,NULL,NULL,'{"created":"2026-11-28T11:24:06.935Z","created_ns":1795865046935313968,"description":"最初","disks":[{"disk":"vda","exclusive_bytes":null,"point":"65973700-5ffc-4f7d-84bc-fd14f961681a","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"disk":"vdb","exclusive_bytes":null,"point":"65973700-5ffc-4f7d-84bc-fd14f961681a","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"exclusive_bytes":null,"is_current":true,"kind":"user","machine":"web","machine_state":"down","machine_uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c","memory":null,"name":"first","parent":"","parent_name":"","settings":{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]},"status":"ok","uuid":"65973700-5ffc-4f7d-84bc-fd14f961681a"}');
INSERT INTO "jobs" VALUES(3,'99843aa36b43cfc8bfad63187be7b471','snapshot.create','web@second','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c"]','done','',0,0,1795865046983348607,1795865047019459653,NULL,NULL,'{"created":"2026-11-28T11:24:06.995Z","created_ns":1795865046995375439,"description":"","disks":[{"disk":"vda","exclusive_bytes":null,"point":"8ef9914c-fbca-4602-aee7-3c81fe9fa2f6","pool":"main","size_bytes":8388608,"volume":"web.vda"}],"exclusive_bytes":null,"is_current":true,"kind":"user","machine":"web","machine_state":"down","machine_uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c","memory":null,"name":"second","parent":"65973700-5ffc-4f7d-84bc-fd14f961681a","parent_name":"first","settings":{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]},"status":"ok","uuid":"8ef9914c-fbca-4602-aee7-3c81fe9fa2f6"}');
INSERT INTO "jobs" VALUES(4,'6bfd60677e29014986cc4bf8b8784f2c','snapshot.return','web@first','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c"]','done','switching the disks',0,0,1795865047030280393,1795865047063685866,NULL,NULL,'{"kept":"before-return-20261128T112407Z","machine":{"accelerator":"","allowed_operations":["start","delete","snapshot.create","snapshot.return","snapshot.clone","snapshot.delete"],"append":"","console_log":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.log","console_socket":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.sock","cpu_model":"qemu64","cpus":2,"created":"2026-11-28T11:24:06.880Z","created_ns":1795865046880382740,"current_parent":"65973700-5ffc-4f7d-84bc-fd14f961681a","current_parent_name":"first","description":"the shop","directory":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c","disks":[{"attached":true,"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"attached":true,"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"lock":null,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"name":"web","nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}],"pid":0,"pool":"main","snapshot_count":3,"started":"","started_ns":0,"state":"down","state_reason":"","status":"ok","uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c"},"restarted":false,"snapshot":{"created":"2026-11-28T11:24:06.935Z","created_ns":1795865046935313968,"description":"最初","disks":[{"disk":"vda","exclusive_bytes":null,"point":"65973700-5ffc-4f7d-84bc-fd14f961681a","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"disk":"vdb","exclusive_bytes":null,"point":"65973700-5ffc-4f7d-84bc-fd14f961681a","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"exclusive_bytes":null,"is_current":true,"kind":"user","machine":"web","machine_state":"down","machine_uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c","memory":null,"name":"first","parent":"","parent_name":"","settings":{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]},"status":"ok","uuid":"65973700-5ffc-4f7d-84bc-fd14f961681a"},"steps":["disks and settings are those of ''first''","the state that was left is kept as ''before-return-20261128T112407Z''","new VM generation id","the machine stays down"]}');
INSERT INTO "jobs" VALUES(5,'7fd9d941850089d2f1e862e2aa712282','machine.start','web','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c"]','done','starting QEMU',0,0,1795865047095383578,1795865047224282885,NULL,NULL,'{"accelerator":"tcg","allowed_operations":["pause","shutdown","kill","snapshot.create","snapshot.memory","snapshot.return","snapshot.clone","snapshot.delete"],"append":"","console_log":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.log","console_socket":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.sock","cpu_model":"qemu64","cpus":2,"created":"2026-11-28T11:24:06.880Z","created_ns":1795865046880382740,"current_parent":"65973700-5ffc-4f7d-84bc-fd14f961681a","current_parent_name":"first","description":"the shop","directory":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c","disks":[{"attached":true,"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"attached":true,"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"lock":null,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"name":"web","nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}],"pid":22010,"pool":"main","snapshot_count":3,"started":"2026-11-28T11:24:07.223Z","started_ns":1795865047223374369,"state":"up","state_reason":"","status":"ok","uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c"}');
INSERT INTO "jobs" VALUES(6,'f3c69bff95aa607ec658605044d54403','snapshot.create','web@live','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c"]','done','saving memory',67108864,67108864,1795865047233755227,1795865047428040745,NULL,NULL,'{"created":"2026-11-28T11:24:07.235Z","created_ns":1795865047235322395,"description":"","disks":[{"disk":"ram","exclusive_bytes":null,"point":"5461affc-548c-4290-a860-5cf523369579","pool":"main","size_bytes":134217728,"volume":"web.ram"},{"disk":"vda","exclusive_bytes":null,"point":"5461affc-548c-4290-a860-5cf523369579","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"disk":"vdb","exclusive_bytes":null,"point":"5461affc-548c-4290-a860-5cf523369579","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"exclusive_bytes":null,"is_current":true,"kind":"user","machine":"web","machine_state":"up","machine_uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c","memory":{"duration_us":107344,"mode":"live","mode_reason":"","ram_bytes":67108864,"state_after_load":"up","stop_us":5445,"stream_bytes":969503,"written_bytes":299008},"name":"live","parent":"65973700-5ffc-4f7d-84bc-fd14f961681a","parent_name":"first","settings":{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]},"status":"ok","uuid":"5461affc-548c-4290-a860-5cf523369579"}');
INSERT INTO "jobs" VALUES(7,'882ca8a11564a348e2e8be66d18672cd','machine.kill','web','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c"]','done','',0,0,1795865047436678497,1795865047439573302,NULL,NULL,'{"accelerator":"","allowed_operations":["start","delete","snapshot.create","snapshot.return","snapshot.clone","snapshot.delete"],"append":"","console_log":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.log","console_socket":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c/serial.sock","cpu_model":"qemu64","cpus":2,"created":"2026-11-28T11:24:06.880Z","created_ns":1795865046880382740,"current_parent":"5461affc-548c-4290-a860-5cf523369579","current_parent_name":"live","description":"the shop","directory":"/srv/hozon/machines/9d2772e0-d4be-45ad-90a4-dfab59580b3c","disks":[{"attached":true,"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"attached":true,"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"lock":null,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"name":"web","nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}],"pid":0,"pool":"main","snapshot_count":4,"started":"2026-11-28T11:24:07.223Z","started_ns":1795865047223374369,"state":"down","state_reason":"","status":"ok","uuid":"9d2772e0-d4be-45ad-90a4-dfab59580b3c"}');
INSERT INTO "jobs" VALUES(8,'b4fa87d1b990c04a17cc4408250fbc5c','snapshot.clone','web@first copy','["machine:9d2772e0-d4be-45ad-90a4-dfab59580b3c","machine:dd774d9b-2b39-4beb-b7b5-f320f85ec2ee","machine_name:copy"]','done','',0,0,1795865047449450728,1795865047456167767,NULL,NULL,'{"machine":{"accelerator":"","allowed_operations":["start","delete","snapshot.create","snapshot.return","snapshot.clone","snapshot.delete"],"append":"","console_log":"/srv/hozon/machines/dd774d9b-2b39-4beb-b7b5-f320f85ec2ee/serial.log","console_socket":"/srv/hozon/machines/dd774d9b-2b39-4beb-b7b5-f320f85ec2ee/serial.sock","cpu_model":"qemu64","cpus":2,"created":"2026-11-28T11:24:07.449Z","created_ns":1795865047449412571,"current_parent":"","current_parent_name":"","description":"clone of web@first","directory":"/srv/hozon/machines/dd774d9b-2b39-4beb-b7b5-f320f85ec2ee","disks":[{"attached":true,"id":"vda","pool":"main","size_bytes":8388608,"volume":"copy.vda"},{"attached":true,"id":"vdb","pool":"main","size_bytes":8388608,"volume":"copy.vdb"}],"has_initrd":false,"has_kernel":false,"lock":null,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"name":"copy","nics":[{"id":"net0","kind":"user","mac":"52:54:00:8f:5f:e7"}],"pid":0,"pool":"main","snapshot_count":0,"started":"","started_ns":0,"state":"down","state_reason":"","status":"ok","uuid":"dd774d9b-2b39-4beb-b7b5-f320f85ec2ee"},"notes":[]}');
CREATE TABLE machines (
  uuid TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  pool TEXT NOT NULL,
  memory_bytes INTEGER NOT NULL,
  cpus INTEGER NOT NULL,
  machine_type TEXT NOT NULL,
  cpu_model TEXT NOT NULL,
  has_kernel INTEGER NOT NULL,
  has_initrd INTEGER NOT NULL,
  append TEXT NOT NULL,
  vmgenid TEXT NOT NULL,
  current_parent TEXT REFERENCES snapshots(uuid) DEFERRABLE INITIALLY DEFERRED,
  created_ns INTEGER NOT NULL,
  started_ns INTEGER NOT NULL
) STRICT;
INSERT INTO "machines" VALUES('9d2772e0-d4be-45ad-90a4-dfab59580b3c','web','the shop','main',67108864,2,'pc-q35-7.2','qemu64',0,0,'','3603f554-f9f7-4c42-a810-0827e577c02e','5461affc-548c-4290-a860-5cf523369579',1795865046880382740,1795865047223374369);
INSERT INTO "machines" VALUES('dd774d9b-2b39-4beb-b7b5-f320f85ec2ee','copy','clone of web@first','main',67108864,2,'pc-q35-7.2','qemu64',0,0,'','0c4ba357-fbf8-49db-b4c5-95ab2b09c179',NULL,1795865047449412571,0);
CREATE TABLE nics (
  machine TEXT NOT NULL REFERENCES machines(uuid) ON DELETE CASCADE,
  id TEXT NOT NULL,
  mac TEXT NOT NULL,
  kind TEXT NOT NULL,
  PRIMARY KEY (machine, id)
) STRICT;
INSERT INTO "nics" VALUES('9d2772e0-d4be-45ad-90a4-dfab59580b3c','net0','52:54:00:a4:a9:b1','user');
INSERT INTO "nics" VALUES('dd774d9b-2b39-4beb-b7b5-f320f85ec2ee','net0','52:54:00:8f:5f:e7','user');
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE snapshot_disks (
  snapshot TEXT NOT NULL REFERENCES snapshots(uuid) ON DELETE CASCADE,
  disk TEXT NOT NULL,
  pool TEXT NOT NULL,
  volume TEXT NOT NULL,
  point TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  PRIMARY KEY (snapshot, disk)
) STRICT;
INSERT INTO "snapshot_disks" VALUES('65973700-5ffc-4f7d-84bc-fd14f961681a','vda','main','web.vda','65973700-5ffc-4f7d-84bc-fd14f961681a',8388608);
INSERT INTO "snapshot_disks" VALUES('65973700-5ffc-4f7d-84bc-fd14f961681a','vdb','main','web.vdb','65973700-5ffc-4f7d-84bc-fd14f961681a',8388608);
INSERT INTO "snapshot_disks" VALUES('8ef9914c-fbca-4602-aee7-3c81fe9fa2f6','vda','main','web.vda','8ef9914c-fbca-4602-aee7-3c81fe9fa2f6',8388608);
INSERT INTO "snapshot_disks" VALUES('b81b3ec2-dae8-4a26-aba3-dfe714652280','vda','main','web.vda','b81b3ec2-dae8-4a26-aba3-dfe714652280',8388608);
INSERT INTO "snapshot_disks" VALUES('b81b3ec2-dae8-4a26-aba3-dfe714652280','vdb','main','web.vdb','b81b3ec2-dae8-4a26-aba3-dfe714652280',8388608);
INSERT INTO "snapshot_disks" VALUES('5461affc-548c-4290-a860-5cf523369579','vda','main','web.vda','5461affc-548c-4290-a860-5cf523369579',8388608);
INSERT INTO "snapshot_disks" VALUES('5461affc-548c-4290-a860-5cf523369579','vdb','main','web.vdb','5461affc-548c-4290-a860-5cf523369579',8388608);
INSERT INTO "snapshot_disks" VALUES('5461affc-548c-4290-a860-5cf523369579','ram','main','web.ram','5461affc-548c-4290-a860-5cf523369579',134217728);
CREATE TABLE snapshots (
  uuid TEXT PRIMARY KEY,
  machine TEXT NOT NULL REFERENCES machines(uuid) ON DELETE CASCADE,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  parent TEXT REFERENCES snapshots(uuid) DEFERRABLE INITIALLY DEFERRED,
  created_ns INTEGER NOT NULL,
  machine_state TEXT NOT NULL,
  memory TEXT NOT NULL,
  settings TEXT NOT NULL,
  environment TEXT NOT NULL,
  UNIQUE (machine, name)
) STRICT;
INSERT INTO "snapshots" VALUES('65973700-5ffc-4f7d-84bc-fd14f961681a','9d2772e0-d4be-45ad-90a4-dfab59580b3c','first','最初','user','ok',NULL,1795865046935313968,'down','null','{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]}','null');
INSERT INTO "snapshots" VALUES('8ef9914c-fbca-4602-aee7-3c81fe9fa2f6','9d2772e0-d4be-45ad-90a4-dfab59580b3c','second','','user','ok','65973700-5ffc-4f7d-84bc-fd14f961681a',1795865046995375439,'down','null','{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]}','null');
INSERT INTO "snapshots" VALUES('b81b3ec2-dae8-4a26-aba3-dfe714652280','9d2772e0-d4be-45ad-90a4-dfab59580b3c','before-return-20261128T112407Z','what returning to ''first'' left','system','ok','8ef9914c-fbca-4602-aee7-3c81fe9fa2f6',1795865047039489448,'down','null','{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]}','null');
INSERT INTO "snapshots" VALUES('5461affc-548c-4290-a860-5cf523369579','9d2772e0-d4be-45ad-90a4-dfab59580b3c','live','','user','ok','65973700-5ffc-4f7d-84bc-fd14f961681a',1795865047235322395,'up','{"duration_us":107344,"mode":"live","mode_reason":"","ram_bytes":67108864,"state_after_load":"up","stop_us":5445,"stream_bytes":969503,"written_bytes":299008}','{"append":"","cpu_model":"qemu64","cpus":2,"disks":[{"id":"vda","pool":"main","size_bytes":8388608,"volume":"web.vda"},{"id":"vdb","pool":"main","size_bytes":8388608,"volume":"web.vdb"}],"has_initrd":false,"has_kernel":false,"machine_type":"pc-q35-7.2","memory_bytes":67108864,"nics":[{"id":"net0","kind":"user","mac":"52:54:00:a4:a9:b1"}]}','{"accelerator":"tcg","normalised":["machine pc-q35-7.2,smm=off,vmport=off,memory-backend=m0","cpu qemu64","smp 2,sockets=1,cores=2,threads=1","memory 64M","device {\"driver\":\"vmgenid\"}","serial isa","device {\"addr\":\"0x02\",\"driver\":\"virtio-rng-pci\",\"rng\":\"rng0\"}","device {\"addr\":\"0x03\",\"driver\":\"virtio-serial-pci\",\"id\":\"vserial\"}","device {\"bus\":\"vserial.0\",\"chardev\":\"agent\",\"driver\":\"virtserialport\",\"name\":\"org.qemu.guest_agent.0\",\"nr\":1}","device {\"addr\":\"0x10\",\"drive\":\"vda\",\"driver\":\"virtio-blk-pci\",\"id\":\"disk-vda\",\"serial\":\"vda\",\"write-cache\":\"on\"}","device {\"addr\":\"0x11\",\"drive\":\"vdb\",\"driver\":\"virtio-blk-pci\",\"id\":\"disk-vdb\",\"serial\":\"vdb\",\"write-cache\":\"on\"}","device {\"addr\":\"0x08\",\"driver\":\"virtio-net-pci\",\"id\":\"nic-net0\",\"netdev\":\"net0\",\"romfile\":\"\"}"],"qemu_version":"7.2.22"}');
CREATE INDEX snapshot_disks_by_volume ON snapshot_disks (pool, volume);
CREATE INDEX jobs_by_state ON jobs (state);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',8);
INSERT INTO "sqlite_sequence" VALUES('job_steps',15);
COMMIT;
PRAGMA user_version=1;
