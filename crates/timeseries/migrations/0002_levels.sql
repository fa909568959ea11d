-- 0: a file that a flush wrote, of any tenants and times. 1: merged, of one tenant and one day.
ALTER TABLE point_file ADD COLUMN level BIGINT NOT NULL DEFAULT 0;
